"""What a plugin does is looked at here before anybody believes it: no exception of its own gets through, no answer
that the ports do not have, and a failure has the plugin's name in it.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator

from gemmalock.codec.url_rules import url_wrongs
from gemmalock.errors import GemmalockError, PluginFailed
from gemmalock.escaping import shown
from gemmalock.lockfile import Node, UrlRule
from gemmalock.machine import Reporter
from gemmalock.outcome import FileOutcome
from gemmalock.plan import FilePlan, Plan
from gemmalock.ports import Answer, Ask, Listing, Probe, Source
from gemmalock.spec import MAX_SIZE, SHA256
from gemmalock.stopping import Stop

#: What can stand in a field of HTTP, and so in a lock as an ETag.
_FIELD = re.compile("[\x20-\x7e\x80-\xff]*")


def hint_of(plugin: str) -> str:
    """How to go on without a plugin."""
    return f"`-p no:{plugin}` goes on without this plugin"


def broken(plugin: str, says: str) -> PluginFailed:
    """The error of a plugin that broke its contract; `says` goes on after its name."""
    return PluginFailed(f"plugin `{plugin}` {says}", hint=hint_of(plugin))


def what_was_raised(error: BaseException) -> str:
    """An exception on one line, also where it cannot say what it is."""
    try:
        text = str(error)
    except Exception:
        text = ""
    return f"{type(error).__name__}: {shown(text, 300)}" if text else type(error).__name__


def what_it_is(value: object) -> str:
    """A value as the operand of a message, or its type where it cannot say what it is."""
    try:
        return f"`{shown(repr(value), 80)}`"
    except Exception:
        return f"a `{type(value).__name__}`"


@contextlib.contextmanager
def guarded(plugin: str, where: str) -> Iterator[None]:
    """Raise PluginFailed for what a plugin must not raise; `where` completes "failed in"."""
    try:
        yield
    except GemmalockError:
        raise
    except (Exception, SystemExit) as error:
        raise broken(plugin, f"failed in {where}: {what_was_raised(error)}") from error


class GuardedSource:
    """A plugin's ports.Source of one scheme."""

    def __init__(self, plugin: str, scheme: str, source: Source) -> None:
        self._plugin = plugin
        self._where = f"its source of `{scheme}://`"
        self._source = source

    def probe(self, url: str, stop: Stop) -> Probe:
        """As ports.Source has it."""
        with guarded(self._plugin, self._where):
            probe = self._source.probe(url, stop)
        if not isinstance(probe, Probe) or not _is_sound(probe):
            raise broken(self._plugin, f"said of `{shown(url)}` what is no ports.Probe: {what_it_is(probe)}")
        return probe

    def list(self, source: str, stop: Stop) -> Listing:
        """As ports.Source has it."""
        with guarded(self._plugin, self._where):
            listing = self._source.list(source, stop)
        if not isinstance(listing, Listing) or not _is_sound_listing(listing):
            raise broken(self._plugin, f"said of `{shown(source)}` what is no ports.Listing: {what_it_is(listing)}")
        return listing

    def open(self, ask: Ask, stop: Stop) -> Answer:
        """As ports.Source has it."""
        with guarded(self._plugin, self._where):
            return _GuardedAnswer(self._plugin, self._where, self._source.open(ask, stop))

    def close(self) -> None:
        """As ports.Source has it. What goes wrong in it is nobody's any more."""
        with contextlib.suppress(Exception):
            self._source.close()


class _GuardedAnswer:
    def __init__(self, plugin: str, where: str, answer: Answer) -> None:
        self._plugin, self._where, self._answer = plugin, where, answer
        self.start, self.end, self.etag = answer.start, answer.end, answer.etag
        self.origin, self.restarted, self.delimited = answer.origin, answer.restarted, answer.delimited

    def readinto(self, buffer: memoryview) -> int:
        """As ports.Answer has it."""
        with guarded(self._plugin, self._where):
            count = self._answer.readinto(buffer)
        if not isinstance(count, int) or not 0 <= count <= buffer.nbytes:
            raise broken(self._plugin, f"says that it put {what_it_is(count)} bytes where {buffer.nbytes} have room")
        return count

    def close(self) -> None:
        """As ports.Answer has it."""
        with contextlib.suppress(Exception):
            self._answer.close()


def guarded_rule(plugin: str, scheme: str, rule: UrlRule) -> UrlRule:
    """A plugin's rule of where the files of its sources are; its URLs are such as a lock may have."""

    def source_url(source: str, revision: str | None, name: str) -> str | None:
        with guarded(plugin, f"its rule of the URLs of `{scheme}://`"):
            url = rule(source, revision, name)
        if url is None:
            return None
        if not isinstance(url, str) or any(url_wrongs(url, None)):
            raise broken(plugin, f"has no URL for `{shown(name)}` that could stand in a lock")
        return url

    return source_url


class GuardedReporter:
    """A plugin's machine.Reporter. Once it has raised anything it is told no more; `failed` is told of that, once."""

    def __init__(self, plugin: str, reporter: Reporter, failed: Callable[[GemmalockError], None]) -> None:
        self._plugin, self._reporter, self._failed = plugin, reporter, failed
        self._is_muted = False
        self._muting = threading.Lock()

    def planned(self, plan: Plan) -> None:
        self._tell("planned", plan)

    def hashing(self, node: Node) -> None:
        self._tell("hashing", node)

    def started(self, file: FilePlan) -> None:
        self._tell("started", file)

    def progress(self, id: str, have: int, size: int) -> None:
        self._tell("progress", id, have, size)

    def retrying(self, id: str, reason: str, after_seconds: float) -> None:
        self._tell("retrying", id, reason, after_seconds)

    def waiting(self, id: str, holder: str) -> None:
        self._tell("waiting", id, holder)

    def finished(self, outcome: FileOutcome) -> None:
        self._tell("finished", outcome)

    def note(self, message: str) -> None:
        self._tell("note", message)

    def _tell(self, what: str, *of: object) -> None:
        if self._is_muted:
            return
        try:
            getattr(self._reporter, what)(*of)
        except (Exception, SystemExit) as error:
            with self._muting:
                first, self._is_muted = not self._is_muted, True
            if first:
                self._failed(broken(self._plugin, f"failed in `{what}` of its reporter: {what_was_raised(error)}"))


def _is_sound_listing(listing: Listing) -> bool:
    revision = listing.revision
    return all(isinstance(name, str) for name in listing.names) and (
        revision is None or (isinstance(revision, str) and revision != "" and revision.isprintable())
    )


def _is_sound(probe: Probe) -> bool:
    size, etag, sha256 = probe.size, probe.etag, probe.sha256
    return (
        (size is None or (type(size) is int and 0 <= size <= MAX_SIZE))
        and (etag is None or (isinstance(etag, str) and _FIELD.fullmatch(etag) is not None))
        and (sha256 is None or (isinstance(sha256, str) and SHA256.fullmatch(sha256) is not None))
    )
