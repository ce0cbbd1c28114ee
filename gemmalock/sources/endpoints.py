"""Where a service is asked that its users can have elsewhere: a hub or a forge of their own, or a mirror of one.

What the lock says stays as it is; only the network moves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from gemmalock.errors import SettingInvalid
from gemmalock.lockfile import GITHUB, GITHUB_API, HUB
from gemmalock.sources.rewriting import Rule

#: Variable → the URL that it moves.
ENDPOINTS: Mapping[str, str] = {"HF_ENDPOINT": HUB, "GITHUB_SERVER_URL": GITHUB, "GITHUB_API_URL": GITHUB_API}


def moved(environ: Mapping[str, str]) -> Iterator[Rule]:
    """The rules that the environment has for where services are. Raises SettingInvalid."""
    for variable, home in ENDPOINTS.items():
        endpoint = endpoint_of(environ, variable)
        if endpoint != home:
            yield Rule(home, endpoint, variable)


def endpoint_of(environ: Mapping[str, str], variable: str) -> str:
    """Where the service of that variable is. Raises SettingInvalid for what is no URL; it may hold a secret, and is not
    repeated."""
    said = environ.get(variable, "").strip()
    if not said:
        return ENDPOINTS[variable]
    try:
        parts = urlsplit(said)
        is_sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_sound = False
    if not is_sound or "@" in parts.netloc or parts.query or parts.fragment:
        hint = f"write it as `{ENDPOINTS[variable]}`, without a name, a password or a query"
        raise SettingInvalid(f"`{variable}` is not the URL of a service", hint=hint)
    return said.rstrip("/")
