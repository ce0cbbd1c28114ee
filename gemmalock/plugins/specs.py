"""What a plugin can do: the hooks, each with its contract, and the values that go to and from them.

A plugin is a module, or an object, that an installed package names in the entry point group `gemmalock`; the name of
the entry point is the plugin's. Its functions that are marked `@hookimpl` are called. Plugins are called one after the
other, in the order of their names; pluggy's `tryfirst` and `trylast` change that. Arguments are given by name: one that
is not needed can be left out.

What may be raised is GemmalockError, which is told as it is, with the plugin's name; of a file, FileError. Everything
else becomes PluginFailed. Neither ever does harm to a file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pluggy

from gemmalock.lockfile import Lock, Node, UrlRule, below
from gemmalock.machine import Reporter
from gemmalock.outcome import FileOutcome, Report
from gemmalock.ports import Source
from gemmalock.spec import Manifest

NAMESPACE = "gemmalock"
hookspec = pluggy.HookspecMarker(NAMESPACE)
hookimpl = pluggy.HookimplMarker(NAMESPACE)

#: A format of `gemmalock export`: the lock, with those files that were selected, as text in UTF-8 or as bytes.
Exporter = Callable[[Lock], str | bytes]


@dataclass(frozen=True, slots=True)
class SourceContext:
    """What a source is made with. `folder`: that of the manifest, where relative places begin; `timeout`: seconds of
    silence after which a connection is given up; `allow_http` and `allowed_hosts` (none: all) are the settings of these
    names. A source of a scheme that needs the network is not made when a run is offline."""

    folder: Path
    environ: Mapping[str, str]
    timeout: int
    allow_http: bool = False
    allowed_hosts: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Scheme:
    """One scheme that URLs of a manifest may have.

    `source` makes its ports.Source, once for a run and the folder of a manifest. `source_url` (lockfile.UrlRule) says
    where the file of a name in a source is, at the revision that `Source.list` told: it proves a lock without asking
    anybody, so it has to be the same for ever, and asks nothing. Its URL may have another scheme, as `https`: then that
    scheme's source fetches the file, and who goes by the lock alone needs no plugin. Where it says None without a
    revision, the source is listed first.
    """

    source: Callable[[SourceContext], Source]
    source_url: UrlRule = below


# --- what a plugin brings ----------------------------------------------------------------------------------


@hookspec
def gemmalock_sources() -> Mapping[str, Scheme]:  # type: ignore[empty-body]
    """Schemes that this plugin has a source for, in lower case and without `://`.

    Called once, when plugins are loaded. A scheme that ends in `+file` is read without a network, and its URLs are
    written as `file://` ones are. A scheme that is built in, or that another plugin has, is a UsageError.
    """


@hookspec
def gemmalock_exporters() -> Mapping[str, Exporter]:  # type: ignore[empty-body]
    """Formats of `gemmalock export`. The first line of a function's docstring is its line in `export --help`.

    Called once, when plugins are loaded; a function, when its format is wanted. It opens nothing. For a file that the
    format cannot say it raises PolicyRefused. A format that is built in, or that another plugin has, is a UsageError.
    """


@hookspec
def gemmalock_reporter(folder: Path) -> Reporter | None:
    """Who is to be told of the run, beside the command line's own reporter; None: nobody.

    `folder` is the project's. Called once a run, from any thread, before the first thing that there is to tell. The
    methods of the reporter are called from many threads. One that raises is told no more, and the run ends with exit
    code 1.
    """


# --- around the phases of a run ----------------------------------------------------------------------------


@hookspec
def gemmalock_before_resolve(folder: Path, manifests: Mapping[str, Manifest]) -> None:
    """Sources are about to be asked for what is in these manifests, by their paths from `folder`.

    Called from the main thread: by `lock`, `outdated`, `add`, `remove`, and by `sync` where the lock is missing or
    stale. What it raises ends the run, before anything is asked or written.
    """


@hookspec
def gemmalock_resolved(folder: Path, old: Lock | None, lock: Lock) -> None:
    """A lock was resolved, and is not written yet; `old` is the one before, None where there was none.

    Called from the main thread, after `gemmalock_before_resolve`, where every file could be pinned; not by `outdated`,
    which writes none. What it raises ends the run: the lock on disk stays as it is.
    """


@hookspec
def gemmalock_collected(folder: Path, nodes: tuple[Node, ...]) -> None:
    """These files of the lock are what the run is about, as the selectors say.

    Called from the main thread: by `verify`, and by `sync` where anything is to be done. What it raises ends the run,
    before a root is changed.
    """


@hookspec
def gemmalock_before_fetch(node: Node) -> None:
    """The bytes of a file are about to be fetched or continued; a file that the store has is not fetched.

    `lock` too fetches files, to learn their digests: of these `node` has none, and the size 0 where nobody told it.
    Called from the thread that works on the file. What it raises is the error of that file, and nothing is asked for.
    """


@hookspec
def gemmalock_fetched(node: Node, path: Path) -> None:
    """The bytes of a file are here, whole, and what the lock says of them was checked; they are not in place yet.

    `path` is to be read, not changed: what was changed is dropped, and is this file's error. Called from the thread
    that works on the file. What it raises is the error of that file: it does not come into place, its bytes are kept,
    and the next run calls this hook with them again.
    """


@hookspec
def gemmalock_verified(node: Node, outcome: FileOutcome) -> None:
    """A file was hashed by `verify`, and this is what came of it.

    Called from the thread that hashed it. What it raises is the error of that file.
    """


@hookspec
def gemmalock_finished(report: Report) -> None:
    """A run has ended, and this is what is told of it.

    Called from the main thread, last, where any other hook of a phase was due in the run; not where an error ended the
    run. What it raises is one more error of the report, whose exit code is then 1 at least.
    """
