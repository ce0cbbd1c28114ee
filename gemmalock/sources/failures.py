"""What urllib3, http.client, ssl and the sockets raise, in the words of `errors`. It decides; it catches nothing."""

from __future__ import annotations

import http.client
import re
import ssl

import urllib3.exceptions as urllib3_errors

from gemmalock.errors import ConnectionFailed, GemmalockError, SourceError, TimedOut, TlsFailed, Unauthorized
from gemmalock.secret import holds_secret
from gemmalock.sources.fields import quoted, shown_url

#: Everything that a request, or reading its body, may raise and that is not a bug of ours. `UnicodeError` is raised
#: for host names that cannot be encoded, `ValueError` for fields that cannot be sent.
FOREIGN = (urllib3_errors.HTTPError, http.client.HTTPException, OSError, UnicodeError, ValueError)
#: What a connection that was kept alive raises when the server closed it in the meantime.
_CUT_TLS = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})")


def source_error(error: BaseException, url: str) -> GemmalockError:
    """The error of ours for a foreign one that came of asking `url`."""
    where = f"`{shown_url(url)}`"
    for cause in causes(error):
        if isinstance(cause, GemmalockError):
            return cause
        if isinstance(cause, urllib3_errors.LocationValueError | http.client.InvalidURL | UnicodeError):
            return SourceError(f"{where} is not a URL that can be asked for: {quoted(str(cause))}")
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, _CUT_TLS):
            return TlsFailed(f"no secure connection to {where}: {_tls_words(cause)}")
        if isinstance(cause, TimeoutError | urllib3_errors.TimeoutError):
            return TimedOut(f"{where} said nothing for too long")
        if isinstance(cause, OSError) and (refused := _TUNNEL.search(str(cause))):
            return _tunnel_error(int(refused[1]), where)
    last = causes(error)[-1]
    if isinstance(last, http.client.RemoteDisconnected):
        return ConnectionFailed(f"{where} closed the connection without an answer")
    if isinstance(last, _CUT_TLS):
        return ConnectionFailed(f"the connection to {where} was cut: it ended without saying so")
    if isinstance(last, OSError):
        return ConnectionFailed(f"the connection to {where} failed: {last.strerror or last}")
    return ConnectionFailed(f"{where} did not answer in HTTP: {quoted(str(last) or type(last).__name__)}")


def causes(error: BaseException) -> list[BaseException]:
    """An error and what it wraps, outermost first: urllib3 keeps the cause as an argument, not as `__cause__`."""
    found: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in found:
        found.append(current)
        inner = [each for each in current.args if isinstance(each, BaseException)]
        current = inner[-1] if inner else current.__cause__
    return found


def told_cause(error: BaseException) -> BaseException | None:
    """What an error of ours may be said to come from: the foreign one, unless that repeats a secret in a traceback."""
    return None if any(holds_secret(str(each)) for each in causes(error)) else error


def is_silence(error: BaseException) -> bool:
    """Whether an error is a time limit's."""
    return any(isinstance(each, TimeoutError | urllib3_errors.TimeoutError) for each in causes(error))


def _tls_words(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate was not accepted ({error.verify_message or error.reason})"
    return quoted(error.reason or str(error)).replace("_", " ").lower()


def _tunnel_error(status: int, where: str) -> SourceError:
    if status == 407:
        return Unauthorized(f"the proxy on the way to {where} wants a credential")
    return ConnectionFailed(f"the proxy on the way to {where} answered {status}")
