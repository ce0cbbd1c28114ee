"""The plugins of a run, loaded when something first needs them: an unknown scheme, a phase, an export, something to
tell. A run with nothing to do needs none, and does not even look whether there are any.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gemmalock.errors import GemmalockError, Offline, PluginFailed, PolicyRefused, disk_error
from gemmalock.lockfile import Node, UrlRule, source_url
from gemmalock.outcome import ErrorNote, ExitCode, FileOutcome, Report
from gemmalock.settings import Settings
from gemmalock.spec import SCHEMES, is_local, scheme_of

if TYPE_CHECKING:
    from gemmalock.machine import Reporter
    from gemmalock.plan import FilePlan, Plan
    from gemmalock.plugins.loading import Plugins
    from gemmalock.ports import Source

_OTHERS = "plugins bring others"


def plugins_of(settings: Settings) -> Plugins | None:
    """The plugins that the settings leave on; None where there is none. Raises UsageError for one that cannot be
    loaded, or that was asked for and is not there."""
    from gemmalock.plugins.glimpse import may_have_plugins

    if not may_have_plugins() and all(choice.startswith("no:") for choice in settings.plugin):
        return None
    from gemmalock.plugins.loading import installed

    plugins = installed(settings.plugin)
    return plugins if plugins.names else None


def check_plugins(settings: Settings) -> None:
    """Raise UsageError for a plugin that was asked for by its name and is not there."""
    if not all(choice.startswith("no:") for choice in settings.plugin):
        plugins_of(settings)


class KnownSchemes(Collection[str]):
    """The schemes that a URL may have; plugins are asked for theirs when one is not built in. `asked`: they were."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.asked = False

    def __contains__(self, scheme: object) -> bool:
        return scheme in SCHEMES or scheme in self._brought()

    def __iter__(self) -> Iterator[str]:
        return iter((*SCHEMES, *self._brought()))

    def __len__(self) -> int:
        return len(SCHEMES) + len(self._brought())

    def _brought(self) -> Collection[str]:
        self.asked = True
        plugins = plugins_of(self._settings)
        return () if plugins is None else plugins.schemes.keys()


def rule_of(settings: Settings) -> UrlRule:
    """Where the files of a source are, also of a plugin's scheme."""

    def rule(source: str, revision: str | None, name: str) -> str | None:
        scheme = scheme_of(source)
        if scheme in SCHEMES or (plugins := plugins_of(settings)) is None or scheme not in plugins.schemes:
            return source_url(source, revision, name)
        from gemmalock.plugins.guarding import guarded_rule

        brought = plugins.schemes[scheme]
        return guarded_rule(brought.plugin, scheme, brought.value.source_url)(source, revision, name)

    return rule


@dataclass(eq=False, repr=False)
class Plugging:
    """The plugins of one run over the project in `folder`. `in_use`: a hook of a phase was due. `failures`: what went
    wrong in plugins that could not end the run."""

    settings: Settings
    folder: Path
    environ: Mapping[str, str]
    in_use: bool = False
    failures: list[GemmalockError] = field(default_factory=list)

    def call(self, hook: str, **arguments: object) -> None:
        """Call a hook of a phase. Raises GemmalockError."""
        self.in_use = True
        plugins = plugins_of(self.settings)
        for _ in plugins.call(hook, **arguments) if plugins is not None else ():
            pass

    def came(self, node: Node, path: Path, drop: Callable[[], None]) -> None:
        """Show plugins what was fetched, and `drop` it where one of them changed it. Raises FileError."""
        plugins = plugins_of(self.settings)
        names = plugins.implementing("gemmalock_fetched") if plugins is not None else ()
        if not names:
            return
        before = _identity(path)
        try:
            self.call("gemmalock_fetched", node=node, path=path)
        finally:
            is_same = _identity(path) == before
            if not is_same:
                drop()
        if not is_same:
            who = " or ".join(f"`{name}`" for name in names)
            hint = f"`-p no:{names[0]}` goes on without that plugin"
            raise PluginFailed(f"plugin {who} changed the bytes that it was shown", hint=hint)

    def source(self, scheme: str, folder: Path) -> Source:
        """A plugin's source of a scheme, for a manifest in `folder`. Raises PolicyRefused where there is none, Offline
        for one that needs the network where that is not to be used."""
        plugins = plugins_of(self.settings)
        if plugins is None or scheme not in plugins.schemes:
            known = "it is not available in this version" if scheme in SCHEMES else "it is unknown"
            there = sorted({"file", "hf", "http", "https"} | (plugins.schemes.keys() if plugins is not None else set()))
            raise PolicyRefused(
                f"no source for `{scheme}://`: {known}", hint=f"this version has {', '.join(there)}; {_OTHERS}"
            )
        if self.settings.offline and not is_local(f"{scheme}://"):
            raise Offline(f"`{scheme}://` is needed from the network")
        from gemmalock.plugins.guarding import GuardedSource, guarded
        from gemmalock.plugins.specs import SourceContext

        settings, brought = self.settings, plugins.schemes[scheme]
        context = SourceContext(
            folder, self.environ, settings.timeout, settings.allow_http, frozenset(settings.allowed_hosts)
        )
        with guarded(brought.plugin, f"making its source of `{scheme}://`"):
            return GuardedSource(brought.plugin, scheme, brought.value.source(context))

    def reporters(self) -> tuple[Reporter, ...]:
        """The reporters that plugins want to be told by; of one that fails, the failure is noted."""
        from gemmalock.plugins.guarding import GuardedReporter

        plugins = plugins_of(self.settings)
        if plugins is None:
            return ()
        found: list[Reporter] = []
        try:
            for brought in plugins.call("gemmalock_reporter", folder=self.folder):
                reporter = GuardedReporter(brought.plugin, brought.value, self.failures.append)  # type: ignore[arg-type]
                found.append(reporter)
        except GemmalockError as failure:
            self.failures.append(failure)
        return tuple(found)

    def ended(self, report: Report) -> Report:
        """The report of a run that has ended, told to plugins; what went wrong in them is in it."""
        errors: list[GemmalockError] = []
        if self.in_use:
            try:
                self.call("gemmalock_finished", report=report)
            except GemmalockError as error:
                errors.append(error)
        errors += self.failures
        if not errors:
            return report
        code = ExitCode.FAILED if report.exit_code is ExitCode.OK else report.exit_code
        return replace(report, exit_code=code, errors=(*report.errors, *map(ErrorNote.of, errors)))


def _identity(path: Path) -> tuple[int, int, int]:
    """What changes when a file does."""
    try:
        status = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return (0, 0, 0)
    except OSError as error:
        raise disk_error(error, f"look at `{path}`") from error
    return (status.st_ino, status.st_size, status.st_mtime_ns)


class Chorus:
    """The run's own reporter, and those of plugins beside it, which are asked for when there is something to tell."""

    def __init__(self, own: Reporter, plugging: Plugging) -> None:
        self._own = own
        self._plugging = plugging
        self._others: tuple[Reporter, ...] | None = None
        self._asking = threading.Lock()

    def planned(self, plan: Plan) -> None:
        self._own.planned(plan)
        for other in () if plan.is_noop else self._beside():
            other.planned(plan)

    def hashing(self, node: Node) -> None:
        self._own.hashing(node)
        for other in self._beside():
            other.hashing(node)

    def started(self, file: FilePlan) -> None:
        self._own.started(file)
        for other in self._beside():
            other.started(file)

    def progress(self, id: str, have: int, size: int) -> None:
        self._own.progress(id, have, size)
        for other in self._beside():
            other.progress(id, have, size)

    def retrying(self, id: str, reason: str, after_seconds: float) -> None:
        self._own.retrying(id, reason, after_seconds)
        for other in self._beside():
            other.retrying(id, reason, after_seconds)

    def waiting(self, id: str, holder: str) -> None:
        self._own.waiting(id, holder)
        for other in self._beside():
            other.waiting(id, holder)

    def finished(self, outcome: FileOutcome) -> None:
        self._own.finished(outcome)
        for other in self._beside():
            other.finished(outcome)

    def note(self, message: str) -> None:
        self._own.note(message)
        for other in self._beside():
            other.note(message)

    def _beside(self) -> tuple[Reporter, ...]:
        if self._others is None:
            with self._asking:
                if self._others is None:
                    self._others = self._plugging.reporters()
        return self._others
