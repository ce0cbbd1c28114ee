"""What ssl and the sockets raise, and a head that is none, in the words of `errors`. It decides; it catches nothing."""

from __future__ import annotations

from gemmalock.errors import ConnectionFailed, GemmalockError, SourceError, TimedOut, TlsFailed, Unauthorized
from gemmalock.secret import holds_secret
from gemmalock.sources.fields import quoted, shown_url
from gemmalock.sources.head import HungUp
from gemmalock.sources.proxies import Proxy
from gemmalock.sources.request import NoUrl

#: Everything that a request, or reading its body, may raise and that is not a bug of ours. `UnicodeError` is raised
#: for host names that cannot be encoded, `ValueError` for fields that cannot be sent.
FOREIGN = (OSError, UnicodeError, ValueError)


def source_error(error: BaseException, url: str) -> GemmalockError:
    """The error of ours for a foreign one that came of asking `url`."""
    where = f"`{shown_url(url)}`"
    for cause in causes(error):
        if isinstance(cause, GemmalockError):
            return cause
        if isinstance(cause, NoUrl | UnicodeError):
            return SourceError(f"{where} is not a URL that can be asked for: {quoted(str(cause))}")
        if (words := _tls_words(cause)) is not None:
            return TlsFailed(f"no secure connection to {where}: {words}")
        if isinstance(cause, TimeoutError):
            return TimedOut(f"{where} said nothing for too long")
    last = causes(error)[-1]
    if isinstance(last, HungUp):
        return ConnectionFailed(f"{where} {last}")
    if _is_cut_tls(last):
        return ConnectionFailed(f"the connection to {where} was cut: it ended without saying so")
    if isinstance(last, OSError):
        return ConnectionFailed(f"the connection to {where} failed: {last.strerror or last}")
    return ConnectionFailed(f"{where} did not answer in HTTP: {quoted(str(last) or type(last).__name__)}")


def unreached_proxy(error: SourceError, url: str, proxy: Proxy) -> SourceError:
    """The error where there is no way to the proxy itself."""
    hint = f"check `{proxy.variable}`; `NO_PROXY` names hosts that are asked without a proxy"
    if isinstance(error, TlsFailed):
        hint = (
            f"a proxy that speaks no TLS itself is `http://…` in `{proxy.variable}`; `SSL_CERT_FILE` names certificates"
        )
    way = f"no way to `{shown_url(url)}` through the proxy that `{proxy.variable}` names"
    return error.reworded(f"{way}: {error.message}", hint)


def proxy_refusal(status: int, url: str, proxy: Proxy) -> SourceError:
    """The error for a status that is the proxy's own."""
    who = f"the proxy `{proxy.shown}` of `{proxy.variable}`, on the way to `{shown_url(url)}`,"
    if status != 407:
        hint = "ask whoever runs it; `NO_PROXY` names hosts that are asked without a proxy"
        # What it forbids now it forbids in a second too; what it could not reach, it may reach then.
        kind = ConnectionFailed if status >= 500 else SourceError
        return kind(f"{who} answered {status}", hint=hint)
    if proxy.has_credential:
        hint = f"check the name and the password in `{proxy.variable}`: what is special in them is percent-encoded"
        return Unauthorized(f"{who} did not accept the credential that it was sent (407)", hint=hint)
    hint = f"write it into `{proxy.variable}`, before the host: a name, `:`, a password and `@`"
    return Unauthorized(f"{who} wants a credential, and was sent none (407)", hint=hint)


def causes(error: BaseException) -> list[BaseException]:
    """An error and what it wraps, outermost first: some keep the cause as an argument, not as `__cause__`."""
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
    return any(isinstance(each, TimeoutError) for each in causes(error))


def _tls_words(error: BaseException) -> str | None:
    """What TLS found wrong; None for what is not its own, or is a connection that was cut."""
    import ssl

    if not isinstance(error, ssl.SSLError) or _is_cut_tls(error):
        return None
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate was not accepted ({error.verify_message or error.reason})"
    return quoted(error.reason or str(error)).replace("_", " ").lower()


def _is_cut_tls(error: BaseException) -> bool:
    # Where nothing failed, nobody needs it: plain http does without.
    import ssl

    return isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError | ssl.SSLSyscallError)
