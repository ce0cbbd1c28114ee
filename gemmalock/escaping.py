"""Making text that others wrote safe to show. Pure.

Names, URLs and answers may hold characters that drive a terminal or turn the direction of the text around them
(CWE-150, Unicode TR36); URLs may hold secrets, and an answer may repeat what was sent. Whoever shows such text passes
it through here first, and whatever passes has lost the secrets that `gemmalock.secret` knows.
"""

from __future__ import annotations

import json
import re

from gemmalock.secret import redacted_secrets

#: C0, DEL and C1 controls, line and paragraph separators, invisible and bidirectional characters, surrogates, tags; and
#: the bracket of `##[`, which drives a CI runner wherever in a line it stands.
_UNSHOWABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]|(?<=##)\\["
)
#: Query keys whose values are secrets, in lower case. `signature` stands for the whole family of signed URLs.
SECRET_KEYS = frozenset(
    {
        "access_key",
        "access_token",
        "api-key",
        "api_key",
        "apikey",
        "auth",
        "auth_token",
        "authorization",
        "awsaccesskeyid",
        "client_secret",
        "hf_token",
        "id_token",
        "jwt",
        "password",
        "passwd",
        "private_token",
        "refresh_token",
        "secret",
        "sig",
        "signature",
        "token",
        "x-amz-credential",
        "x-amz-security-token",
        "x-amz-signature",
        "x-goog-credential",
        "x-goog-signature",
        "x-ms-signature",
    }
)
_USERINFO = re.compile(r"""(?i)(?<![a-z0-9+.-])([a-z][a-z0-9+.-]{0,30})://([^\s"'<>]*)@""")
_QUERY_VALUE = re.compile(r"""([?&;])([^\s=&;"'<>]{1,64})=([^\s&;"'<>]+)""")
#: A line this long is cut before it is searched for secrets, so that searching stays cheap.
_LONGEST = 4000


def escaped(text: str) -> str:
    """`text` on one line, with everything that is not plainly visible as `\\u….` (beyond the BMP `\\U….`)."""
    return _UNSHOWABLE.sub(_escape, redacted_secrets(text))


def shown_json(value: object, indent: int | None = None) -> str:
    """A value as JSON that drives nothing: in ASCII, and without a control character or a runner's command."""
    text = redacted_secrets(json.dumps(value, indent=indent))
    return text.replace("\x7f", "\\u007f").replace("##[", "##\\u005b")


def redacted(text: str) -> str:
    """`text` without the secrets that are known, and with those of the URLs in it starred out, each character by one
    `*`, so that columns hold. What is long is cut first, except by `redacted_message`."""
    text = redacted_secrets(text)
    shown, rest = text[:_LONGEST], text[_LONGEST:]
    shown = _USERINFO.sub(_star_userinfo, shown)
    return _QUERY_VALUE.sub(_star, shown) + "*" * len(rest)


def redacted_message(text: str) -> str:
    """A sentence of ours without secrets. Its operands were cut when it was made: a long one is a list of many, and
    keeps its end."""
    return redacted(text) if len(text) <= _LONGEST else redacted_secrets(text)


def shown(text: str, limit: int = 100) -> str:
    """`text` as an operand of a message: redacted, escaped, and cut in its middle beyond `limit` characters (at its
    end where it is so long that its end is not searched for secrets)."""
    text = redacted_secrets(text)
    if len(text) > _LONGEST:
        return escaped(redacted(text[:_LONGEST])[: limit - 1]) + "…"
    text = redacted(text)
    if len(text) > limit:
        text = f"{text[: limit // 2]}…{text[-(limit // 2 - 1) :]}"
    return escaped(text)


def is_secret_key(key: str) -> bool:
    """Whether a query parameter of that name holds a credential."""
    return key.lower() in SECRET_KEYS


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _star(found: re.Match[str]) -> str:
    separator, key, value = found.groups()
    return f"{separator}{key}={'*' * len(value)}" if is_secret_key(key) else found[0]


def _star_userinfo(found: re.Match[str]) -> str:
    scheme, before = found.groups()
    host_part, slash, _ = before.partition("/")
    # What follows a `/` may still be a password that was not percent-encoded, if a `:` came before it.
    is_web = scheme.lower() in ("http", "https")
    if is_web:
        secret = "@" in host_part or not slash or ":" in before
    else:
        secret = ":" in host_part and ("@" in host_part or not slash)
    return f"{scheme}://{'*' * len(before)}@" if secret else found[0]
