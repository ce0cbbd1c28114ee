"""Which place a URL is asked at: prefix → prefix, by the settings, for mirrors. Pure, but for telling of it.

What the lock says stays as it is, and so does the digest that the bytes must have: a mirror is trusted no more than the
place that it stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

from gemmalock.errors import FileError, PolicyRefused
from gemmalock.sources.fields import origin_of, shown_url
from gemmalock.spec import is_loopback, scheme_of


class Rule(NamedTuple):
    """A URL prefix, the one that is asked instead, and who says so."""

    prefix: str
    target: str
    by: str = "rewrite"


class Rewrites:
    """Rules for where URLs are asked; each URL that is led elsewhere is `told`, once.

    A prefix ends where a part of a URL does: `https://a.example/m` means `/m`, `/m/x` and `/m?x` of that scheme, host
    and port, and not `/model`. Whether it ends in a slash makes no difference. Of two rules for one prefix the first
    counts.
    """

    def __init__(
        self,
        rules: Iterable[tuple[str, ...]] = (),
        *,
        allow_http: bool = False,
        told: Callable[[str], None] = lambda text: None,
    ) -> None:
        longest_first = sorted((Rule(*rule) for rule in rules), key=lambda rule: len(_path(rule.prefix)), reverse=True)
        self._rules = [(origin_of(rule.prefix), _path(rule.prefix), rule) for rule in longest_first]
        self._allow_http = allow_http
        self._told = told
        self._seen: set[str] = set()

    def of(self, url: str) -> str:
        """The URL that is asked for `url`: by the longest prefix that fits, else itself. Raises PolicyRefused where
        that leads out of https into plain http to another machine."""
        rule, rest = self._fitting(url)
        if rule is None:
            return url
        new = rule.target.rstrip("/") + rest
        step = f"`{shown_url(url)}` is asked for at `{shown_url(new)}`, as `{rule.by}` says"
        out_of_https = scheme_of(url) == "https" and scheme_of(new) == "http"
        if out_of_https and not self._allow_http and not is_loopback(new):
            raise PolicyRefused(f"{step}, which is plain http", hint="rewrite it to `https://`, or set `allow-http`")
        if url not in self._seen:
            self._seen.add(url)
            self._told(step)
        return new

    def who(self, url: str) -> str:
        """Who says that another URL is asked for `url`."""
        rule, _ = self._fitting(url)
        return "" if rule is None else rule.by

    def _fitting(self, url: str) -> tuple[Rule | None, str]:
        """The rule for a URL, and what follows the prefix there."""
        if not self._rules:
            return None, ""
        try:
            origin = origin_of(url)
        except ValueError:
            return None, ""
        rest = url.partition("://")[2]
        rest = rest[len(urlsplit(url).netloc) :]
        for from_origin, path, rule in self._rules:
            if origin == from_origin and rest.startswith(path) and rest[len(path) : len(path) + 1] in ("", "/", "?"):
                return rule, rest[len(path) :]
        return None, ""


class Route:
    """The places that one request comes by: `url` is asked, `given` is what that URL was before it was rewritten;
    `is_redirected`: an answer led there."""

    def __init__(self, url: str, rewrites: Rewrites) -> None:
        self._rewrites = rewrites
        self.given = url
        self.url = rewrites.of(url)
        self.is_redirected = False
        self._carried: list[str | None] = []

    def carries(self, credential: str | None) -> None:
        """Note the name of the credential that the request of this hop carries, or that it carries none."""
        self._carried.append(credential)

    @property
    def credential(self) -> str | None:
        """By name the credential that has to do with the answer: that of the last hop, else that of the first."""
        return (self._carried[-1] or self._carried[0]) if self._carried else None

    def go_on(self, url: str) -> None:
        """Where a redirect leads is rewritten too. Raises PolicyRefused."""
        self.given = self.url = url
        self.is_redirected = True
        self.url = self._rewrites.of(url)

    @property
    def is_rewritten(self) -> bool:
        """Whether another place is asked than the one that was given."""
        return self.url != self.given

    def __enter__(self) -> Route:
        """Errors that are raised inside say that a rule had a hand in them."""
        return self

    def __exit__(self, _: object, error: object, __: object) -> None:
        if isinstance(error, FileError) and self.is_rewritten:
            by, asked, given = self._rewrites.who(self.given), shown_url(self.url), shown_url(self.given)
            there = "there" if f"`{asked}`" in error.message else f"to `{asked}`"
            error.message += f"; `{by}` leads {there} from `{given}`"


def _path(prefix: str) -> str:
    return urlsplit(prefix).path.rstrip("/")
