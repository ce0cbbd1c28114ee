"""Where a stand-in hub keeps its large files: signed links that expire, behind a port of its own.

See `tests.servers.hub` for the knobs. It reads no clock: the test moves one.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
from dataclasses import dataclass, field
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from tests.servers.fileserver import Content, Request
from tests.servers.hub_answers import Answer, part
from tests.servers.hub_repos import Blob

MULTIPART = "multipart"
DIGEST = "digest"
ANOTHER = "another"
_SECRET = b"the key that only the hub and its CDN know"
_REFUSAL = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{}</Code><Message>{}</Message></Error>'


@dataclass(slots=True)
class Link:
    """A signed link that was given out: until when it holds, and how many bytes came by it."""

    blob: Blob
    expires: int
    served: int = 0
    dead: bool = False


@dataclass(slots=True)
class Cdn:
    """The CDN and its knobs."""

    etag: str | None = MULTIPART
    ranges: bool = True
    head: bool | int = True
    gzip_ignores_ranges: bool = False
    link_life: int = 3600
    expire_after_bytes: int | None = None
    fail_first: list[int] = field(default_factory=list)
    retry_after: str | None = None
    throttle: int | None = None
    cut_after: int | None = None
    cut_times: int | None = None
    resets: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    clock: int = 1_800_000_000
    links: list[Link] = field(default_factory=list)
    _answers: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def sign(self, repository: str, blob: Blob, name: str) -> str:
        """A new link to a blob, below the CDN's origin."""
        with self._lock:
            self.links.append(Link(blob, self.clock + self.link_life))
            serial = len(self.links) - 1
        folder = hashlib.sha256(repository.encode()).hexdigest()
        path = f"/repos/{folder[:2]}/{folder}/{blob.sha256}"
        expires = str(self.links[serial].expires)
        shown = f"inline; filename*=UTF-8''{quote(name, safe='')}; filename=\"{quote(name)}\";"
        query = {
            "response-content-disposition": shown,
            "Expires": expires,
            "Policy": str(serial),
            "Signature": _signature(path, expires, str(serial)),
            "Key-Pair-Id": "KSTANDIN",
        }
        return f"{path}?{urlencode(query)}"

    def expire_links(self) -> None:
        """Let every link that was given out so far be refused from now on."""
        with self._lock:
            for link in self.links:
                link.dead = True

    def answer(self, request: Request) -> Answer:
        """What a request for a signed link gets."""
        if "authorization" in request.headers:
            return _refusal(400, "InvalidArgument", "Only one auth mechanism allowed")
        link = self._link(request)
        if link is None:
            return _refusal(403, "AccessDenied", "Access denied")
        if request.method == "HEAD" and self.head is not True:
            return Answer(self.head or 405)
        with self._lock:
            self._answers += 1
            number = self._answers
            failure = self.fail_first.pop(0) if self.fail_first and request.method == "GET" else None
        if failure is not None:
            return Answer(failure, {} if self.retry_after is None else {"Retry-After": self.retry_after})
        answer = part(request, self._content(request, link.blob, number))
        answer.resets = self.resets
        answer.allow = _Flow(self, link, self._next_cut(len(answer.body))).allow
        return answer

    def _link(self, request: Request) -> Link | None:
        """The link that a request has, if its signature is right and it still holds."""
        asked = urlsplit(request.path)
        fields = {name: values[0] for name, values in parse_qs(asked.query).items()}
        expires, serial = fields.get("Expires", ""), fields.get("Policy", "")
        signature = _signature(asked.path, expires, serial)
        if not hmac.compare_digest(signature.encode(), fields.get("Signature", "").encode()):
            return None
        link = self.links[int(serial)]
        return None if link.dead or link.expires <= self.clock else link

    def _content(self, request: Request, blob: Blob, number: int) -> Content:
        zipped = self.gzip_ignores_ranges and "gzip" in request.headers.get("accept-encoding", "")
        named = {
            MULTIPART: f'"{hashlib.md5(blob.sha256.encode()).hexdigest()}-64"',
            DIGEST: f'"{blob.sha256}"',
            ANOTHER: f'"{hashlib.md5(b"%d" % number).hexdigest()}"',
        }
        etag = None if self.etag is None else named.get(self.etag, self.etag)
        return Content(
            blob.body,
            etag=lambda: etag,
            ranges=self.ranges and not zipped,
            content_type="binary/octet-stream",
            headers=self.headers,
            throttle=self.throttle,
        )

    def _next_cut(self, size: int) -> int | None:
        with self._lock:
            if self.cut_after is None or self.cut_after >= size or self.cut_times == 0:
                return None
            if self.cut_times is not None:
                self.cut_times -= 1
            return self.cut_after


class _Flow:
    """One body on its way: how much of it may still go out."""

    def __init__(self, cdn: Cdn, link: Link, cut: int | None) -> None:
        self._cdn = cdn
        self._link = link
        self._left = cut

    def allow(self, wanted: int) -> int:
        with self._cdn._lock:
            if self._left is not None:
                wanted = min(wanted, self._left)
                self._left -= wanted
            if self._cdn.expire_after_bytes is not None:
                left = self._cdn.expire_after_bytes - self._link.served
                wanted = max(0, min(wanted, left))
                self._link.dead = self._link.dead or wanted == left
            self._link.served += wanted
            return wanted


def _signature(path: str, expires: str, serial: str) -> str:
    return hmac.new(_SECRET, f"{path}\n{expires}\n{serial}".encode(), "sha256").hexdigest()


def _refusal(status: int, code: str, message: str) -> Answer:
    return Answer(status, {"Content-Type": "application/xml"}, _REFUSAL.format(code, message).encode())
