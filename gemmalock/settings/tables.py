"""The settings that are tables: URL prefix → URL prefix, and origin → name of an environment variable.

In the environment a table is written as `KEY=VALUE`, with spaces or commas between. No message repeats a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from gemmalock.codec.url_rules import url_wrongs
from gemmalock.escaping import shown
from gemmalock.settings.said import Flaw, Flaws
from gemmalock.sources.fields import origin_of
from gemmalock.sources.keepers import KEYRING
from gemmalock.spec import is_loopback

_WEB = frozenset({"http", "https"})
#: In capitals, so that a token that somebody put in the place of its variable's name is seen for what it is.
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
#: The variables that are a service's own token, whoever set them, with the origins that they are for.
OWN_TOKENS: Mapping[str, tuple[str, ...]] = {
    "HF_TOKEN": ("https://huggingface.co",),
    "GITHUB_TOKEN": ("https://api.github.com", "https://github.com"),
    "GH_TOKEN": ("https://api.github.com", "https://github.com"),
}
_FOREIGN_HINT = "name a variable of its own there, or say it in the environment, as `GEMMALOCK_AUTH`"
_EACH_HOST = "name each host by itself"
_NO_NAME = f"must be the name of an environment variable, in capitals, or `{KEYRING}`"


def read_rewrite(value: object) -> tuple[tuple[str, str], ...]:
    """URL prefixes with those that are asked instead, as they are written. Raises Flaws, or ValueError."""
    table = _table(value, r"(\S+?)=(https?://\S+)", "`URL PREFIX=URL PREFIX`")
    flaws = [Flaw(key, message, hint) for key, target in table for message, hint in _prefix_flaws(key, target)]
    seen: set[tuple[str, str]] = set()
    for key, _ in () if flaws else table:
        place = (origin_of(key), urlsplit(key).path.rstrip("/"))
        if place in seen:
            flaws.append(Flaw(key, f"has `{shown(key)}` twice", "a slash at the end makes no difference"))
        seen.add(place)
    if flaws:
        raise Flaws(flaws)
    return tuple((key, str(target)) for key, target in table)


def read_auth(value: object) -> tuple[tuple[str, str], ...]:
    """Origins, normal in form, each with the name of the variable that has its credential, or `keyring`. Raises Flaws,
    ValueError."""
    table = _table(value, r"(\S+)=(\S+)", "`ORIGIN=VARIABLE`")
    flaws = [Flaw(key, message, hint) for key, name in table for message, hint in _auth_flaws(key, name)]
    origins = [] if flaws else [origin_of(key) for key, _ in table]
    flaws += [
        Flaw(key, f"has `{origin}` twice")
        for place, (origin, (key, _)) in enumerate(zip(origins, table, strict=False))
        if origin in origins[:place]
    ]
    if flaws:
        raise Flaws(flaws)
    return tuple((origin, str(name)) for origin, (_, name) in zip(origins, table, strict=True))


def refuse_foreign_tokens(value: object) -> None:
    """Raise Flaws where a settings file names the variable of a service's own token for somebody else: it came with a
    project, and whose token that is has not been asked."""
    pairs = value.items() if isinstance(value, Mapping) else ()
    flaws = [
        Flaw(key, f"sends `{name}` to `{shown(key)}`, and that is for {OWN_TOKENS[name][0]} alone", _FOREIGN_HINT)
        for key, name in pairs
        if name in OWN_TOKENS and origin_of(key) not in OWN_TOKENS[name] and not is_loopback(key)
    ]
    if flaws:
        raise Flaws(flaws)


def _table(value: object, pair: str, form: str) -> list[tuple[str, object]]:
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return list(value.items())
    if isinstance(value, str):
        found = [re.fullmatch(pair, word) for word in re.split(r"[,\s]+", value) if word]
        matches = [match for match in found if match is not None]
        if len(matches) == len(found):
            return [(match[1], match[2]) for match in matches]
    # What was given may be, or hold, a credential.
    raise ValueError(f"must be a table, or {form} in the environment")


def _prefix_flaws(key: str, target: object) -> Iterator[tuple[str, str]]:
    if not isinstance(target, str):
        yield f"leads `{shown(key)}` to {type(target).__name__}", "write a URL prefix, as `https://mirror.example/`"
        return
    for what, url in (("leads from", key), ("leads to", target)):
        for wrong in url_wrongs(url, _WEB):
            yield f"{what} a URL that cannot be: {wrong.message}", wrong.hint
        if _has_wildcard(url):
            yield f"{what} a pattern of hosts, and a host has no wildcard", _EACH_HOST
        if "?" in url:
            yield f"{what} a URL with a query", "a prefix ends with a path, or before it"


def _auth_flaws(key: str, name: object) -> Iterator[tuple[str, str]]:
    wrongs = list(url_wrongs(key, _WEB))
    for wrong in wrongs:
        yield f"has an origin that cannot be: {wrong.message}", wrong.hint
    if not wrongs:
        yield from _origin_flaws(key)
    if not isinstance(name, str) or not (name == KEYRING or _VARIABLE.fullmatch(name)):
        where = f" for `{shown(key)}`" if not wrongs else ""
        yield f"{_NO_NAME}{where}", "a credential itself never stands in a file: set a variable to it, and name that"


def _origin_flaws(key: str) -> Iterator[tuple[str, str]]:
    parts = urlsplit(key)
    if _has_wildcard(key):
        yield f"has `{shown(key)}`: an origin has no wildcard", _EACH_HOST
        return
    if parts.path not in ("", "/") or parts.query:
        yield f"has `{shown(key)}`, which is more than an origin", f"write `{origin_of(key)}`"
    if parts.scheme == "http" and not is_loopback(key):
        yield f"has `{shown(key)}`: a credential goes over https only", f"write `https://{parts.netloc}`"


def _has_wildcard(url: str) -> bool:
    """Whether the host of a URL is a pattern: it would be taken at its word, and never met."""
    return "*" in re.split(r"[/?#]", url.partition("://")[2])[0].rpartition("@")[2]
