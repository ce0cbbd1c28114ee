"""What a stand-in hub answers with, and what stands before every answer of it: its quotas and its bad days."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.servers.fileserver import Content, Request, asked_range

JSON = "application/json; charset=utf-8"
TEXT = "text/plain; charset=utf-8"


@dataclass(slots=True)
class Answer:
    """One answer. `allow` is asked before each piece of the body how much of it may go out; at 0 the connection ends,
    with a reset if it `resets`."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | memoryview = b""
    throttle: int | None = None
    allow: Callable[[int], int] | None = None
    resets: bool = True


class Refused(Exception):
    """An answer that ends the search for another one."""

    def __init__(self, status: int, code: str | None, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        # A field holds Latin-1 (RFC 9110, 5.5), and a file may be called anything.
        shown = message.encode("latin-1", "replace").decode("latin-1")
        named = {"X-Error-Code": code} if code else {}
        given = {"X-Error-Message": shown, **named, **(headers or {})}
        self.answer = Answer(status, {"Content-Type": JSON, **given}, json.dumps({"error": message}).encode())


@dataclass(slots=True)
class Gate:
    """A quota of the hub, and what fails before anything is looked at; see `tests.servers.hub` for its knobs."""

    name: str
    quota: int
    limit: int | None = None
    limit_times: int | None = None
    reset_seconds: int = 55
    retry_after: str | None = None
    fail_first: list[int] = field(default_factory=list)

    def pass_one(self) -> dict[str, str]:
        """Let one more request through. The fields that every answer has; raises Refused."""
        if self.fail_first:
            status = self.fail_first.pop(0)
            message = "Internal Error - We're working hard to fix this as soon as possible!"
            raise Refused(status, None, message, self._wait())
        if self.limit == 0 and self.limit_times == 0:
            self.limit = None
        if self.limit is None:
            return self._fields(self.quota - 1)
        if self.limit == 0:
            if self.limit_times is not None:
                self.limit_times -= 1
            message = f"We had to rate limit you, you hit the quota of {self.quota} {self.name} requests per 5 minutes"
            raise Refused(429, None, f"{message} period.", {**self._fields(0), **self._wait()})
        self.limit -= 1
        return self._fields(self.limit)

    def _fields(self, remaining: int) -> dict[str, str]:
        """As draft-ietf-httpapi-ratelimit-headers-09 has them, and the hub sends them."""
        policy = f'"fixed window";"{self.name}";q={self.quota};w=300'
        return {"RateLimit": f'"{self.name}";r={remaining};t={self.reset_seconds}', "RateLimit-Policy": policy}

    def _wait(self) -> dict[str, str]:
        return {} if self.retry_after is None else {"Retry-After": self.retry_after}


def found(said: Any, headers: Mapping[str, str] | None = None) -> Answer:
    """A JSON value."""
    return Answer(200, {"Content-Type": JSON, **(headers or {})}, json.dumps(said, ensure_ascii=False).encode())


def redirect(status: int, location: str, headers: Mapping[str, str] | None = None) -> Answer:
    """A redirect, which says so in words too."""
    given = {"Location": location, "Content-Type": TEXT, **(headers or {})}
    return Answer(status, given, f"Redirecting to {location}".encode())


def part(request: Request, content: Content) -> Answer:
    """The bytes of a file, or the range of them that was asked for."""
    etag = content.etag_now()
    start, end, status = asked_range(request, content, etag)
    size = len(content.body)
    headers = {"Content-Type": content.content_type, **content.headers}
    if etag is not None:
        headers["ETag"] = etag
    if status == 416:
        return Answer(416, {"Content-Range": f"bytes */{size}"})
    if content.ranges:
        headers["Accept-Ranges"] = "bytes"
    if status == 206:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return Answer(status, headers, memoryview(content.body)[start:end], content.throttle)
