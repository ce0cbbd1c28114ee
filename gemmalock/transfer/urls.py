"""Which of a file's URLs is asked next, and which are asked no more. Decides and remembers; opens nothing.

Without a digest in the lock nothing would tell that a mirror has the same file: then there is the file's own URL alone.
"""

from __future__ import annotations

import threading

from gemmalock.errors import FileError
from gemmalock.lockfile import LockedFile
from gemmalock.transfer.combine import origin_of
from gemmalock.transfer.lanes import Origin


class Mistrusted:
    """The servers that sent wrong bytes as somebody's mirror, over all files of a run; `warnings` names each once.

    A server is an origin: who has one file wrong has more of them wrong, and a URL alone does not say where in its path
    the mirror begins. A file's own URL is asked all the same: it is what the lock names. Safe to use from many threads.
    """

    def __init__(self) -> None:
        self._urls: dict[Origin, str] = {}
        self._lock = threading.Lock()

    @property
    def warnings(self) -> tuple[str, ...]:
        """A sentence for each server."""
        with self._lock:
            urls = tuple(self._urls.values())
        return tuple(
            f"mirror `{url}` sent wrong bytes: its server was not asked as a mirror again in this run" for url in urls
        )

    def drop(self, url: str) -> None:
        """The mirror at this URL sent wrong bytes: its server is nobody's mirror any more."""
        with self._lock:
            self._urls.setdefault(origin_of(url), url)

    def has(self, url: str) -> bool:
        """Whether a mirror at this URL is not to be asked."""
        with self._lock:
            return origin_of(url) in self._urls


class Urls:
    """The URLs of one file, in the order of trust: its own, then its mirrors as they are locked. Safe to use from many
    threads.

    One that failed, or that sent wrong bytes, is asked no more; one that is set aside is asked again after `recall`.
    `failures` has the former, each with its error, as they came.
    """

    def __init__(self, file: LockedFile, mistrusted: Mistrusted, *, together: bool = False) -> None:
        """`together`: several may be asked at the same time, each for pieces of its own."""
        self.all = (file.url, *(file.mirrors if file.sha256 is not None else ()))
        self.failures: list[tuple[str, FileError]] = []
        self._together = together
        self._recalled = False
        self._mistrusted = mistrusted
        self._aside: set[str] = set()
        self._answered: set[str] = set()
        self._turn = 0
        self._lock = threading.Lock()

    @property
    def live(self) -> tuple[str, ...]:
        """Those that may be asked, the most trusted first."""
        gone = self._aside | {url for url, _ in self.failures}
        return tuple(url for url in self.all if url not in gone and not self._is_mistrusted(url))

    @property
    def are_together(self) -> bool:
        """Whether there are several to be asked at the same time."""
        return self._together and len(self.live) > 1

    @property
    def others(self) -> tuple[str, ...]:
        """Those that may be asked instead of one that is suspected; none any more once one was convicted."""
        return () if self._recalled else self.live

    @property
    def passed_over(self) -> tuple[str, ...]:
        """Those that were never asked, since their server sent wrong bytes of another file."""
        known = self._answered | {url for url, _ in self.failures}
        return tuple(url for url in self.all if url not in known and self._is_mistrusted(url))

    def in_turn(self, leading: str) -> tuple[str, ...]:
        """Whom one more connection may ask, beside the first one that asks `leading`: the next in turn first."""
        live = self.live
        if not self.are_together:
            return (leading,) if leading in live else live[:1]
        with self._lock:
            self._turn += 1
            at = (live.index(leading) + self._turn if leading in live else self._turn) % len(live)
        return live[at:] + live[:at]

    def answered(self, url: str) -> None:
        """It has sent bytes."""
        self._answered.add(url)

    def has_answered(self, url: str) -> bool:
        """Whether it ever sent bytes."""
        return url in self._answered

    def fail(self, url: str, error: FileError) -> None:
        """It is asked no more."""
        with self._lock:
            if all(url != other for other, _ in self.failures):
                self.failures.append((url, error))

    def convict(self, url: str, error: FileError) -> None:
        """It sent wrong bytes: it is asked no more, and where it is a mirror, its server is nobody's any more."""
        self.fail(url, error)
        if url != self.all[0]:
            self._mistrusted.drop(url)

    def set_aside(self, url: str) -> None:
        """It may have sent wrong bytes: the others are asked first."""
        self._aside.add(url)

    def recall(self) -> bool:
        """It was another one, or the others have not got it: all that were set aside may be asked again, one after the
        other. Whether there is any."""
        self._aside.clear()
        self._together, self._recalled = False, True
        return bool(self.live)

    def verdict(self) -> FileError:
        """The error of a file that none of its URLs has: that of the first, and what the others said."""
        by_url = dict(self.failures)
        told = [(url, by_url[url]) for url in self.all if url in by_url]
        _, first = told[0]
        rest = [f"mirror `{url}`: {error}" for url, error in told[1:]]
        rest += [f"mirror `{url}` was not asked: its server sent wrong bytes" for url in self.passed_over]
        return first.reworded("; ".join([first.message, *rest])) if rest else first

    def _is_mistrusted(self, url: str) -> bool:
        return url != self.all[0] and self._mistrusted.has(url)
