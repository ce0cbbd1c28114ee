"""What may be asked over the network at all. Pure: a URL in, nothing or a refusal out."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

from gemmalock.errors import Offline, PolicyRefused
from gemmalock.sources.fields import quoted, shown_url
from gemmalock.spec import scheme_of


class Policy(NamedTuple):
    """What the settings allow. `allow_http`: plain http, also without a digest; `offline`: nothing at all;
    `allowed_hosts`: no other hosts than these, in lower case (empty: any)."""

    allow_http: bool = False
    offline: bool = False
    allowed_hosts: frozenset[str] = frozenset()

    def check(self, url: str) -> None:
        """Raise Offline or PolicyRefused for a URL that must not be asked: of each hop of a redirect too."""
        if self.offline:
            raise Offline(f"`{shown_url(url)}` is needed from the network")
        if scheme_of(url) not in ("http", "https"):
            raise PolicyRefused(f"`{shown_url(url)}` is neither http nor https")
        if not self.allowed_hosts:
            return
        host = (urlsplit(url).hostname or "").lower()
        if host not in self.allowed_hosts:
            raise PolicyRefused(
                f"host `{quoted(host)}` is not among `allowed-hosts`", hint="add it there, if it is to be trusted"
            )
