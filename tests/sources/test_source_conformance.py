"""What `ports.Source` promises, kept by every source: over http, on GitHub, over folders, in archives, in memory."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from gemmalock.errors import Interrupted, NotFound, PolicyRefused, SizeMismatch, SourceError, UpstreamChanged
from gemmalock.plugins.specs import SourceContext
from gemmalock.ports import Ask, Source
from gemmalock.sources.credentials import Credentials
from gemmalock.sources.endpoints import moved
from gemmalock.sources.file import FileSource
from gemmalock.sources.github import GitHubSource
from gemmalock.sources.http import HttpSource
from gemmalock.sources.rewriting import Rewrites
from gemmalock.stopping import Stop
from tests.guard import CHECKOUT
from tests.servers.fileserver import Content, FileServer
from tests.servers.github import Asset, GitHub, Release, Repository
from tests.sources.conftest import drained
from tests.sources.twin import MemorySource

BODY = bytes(range(256)) * 37
SIZE = len(BODY)
TOKEN = "ghp_0123456789abcdefghijklmnopqrstuvwxyz"
FILES = {"gemma.gguf": BODY, "empty": b"", "tokenizer/tokenizer.json": b"{}"}


@dataclass(frozen=True, slots=True)
class Case:
    """A source that has FILES below `url`."""

    source: Source
    url: str

    def ask(self, start: int = 0, end: int | None = SIZE, **rest: object) -> Ask:
        return Ask(f"{self.url}/gemma.gguf", start, end, **({"size": SIZE, "proven": True} | rest))  # type: ignore[arg-type]


def zips() -> ModuleType:
    """The module of the plugin in `examples/plugin-source`."""
    spec = spec_from_file_location("gemmalock_zips", CHECKOUT / "examples/plugin-source/gemmalock_zips.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(
    params=[
        "http",
        "http without ranges",
        "http in chunks",
        "github",
        "github, private",
        "file",
        "zip",
        "zip, packed",
        "memory",
        "memory without ranges",
    ]
)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    kind: str = request.param
    if kind.startswith("http"):
        ranges, length = "without" not in kind, "chunks" not in kind
        files = {f"/m/{name}": Content(body, ranges=ranges, content_length=length) for name, body in FILES.items()}
        with FileServer(files) as server:
            source = HttpSource()
            yield Case(source, f"{server.url}/m")
            source.close()
            assert not server.failures
    elif kind.startswith("github"):
        release = Release("v1", [Asset(name, body) for name, body in FILES.items()])
        private = "private" in kind
        with GitHub({"o/r": Repository([release], private=private)}, tokens={TOKEN}) as github:
            credentials = (
                Credentials({"HOME": "/nonexistent"} | github.environ | {"GITHUB_TOKEN": TOKEN}) if private else None
            )
            web = HttpSource(rewrites=Rewrites(moved(github.environ)), credentials=credentials)
            yield Case(GitHubSource(web), "https://github.com/o/r/releases/download/v1")
            web.close()
            assert not github.failures
            assert not github.leaks
    elif kind == "file":
        for name, body in FILES.items():
            (tmp_path / "m" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "m" / name).write_bytes(body)
        yield Case(FileSource(tmp_path), "file://m")
    elif kind.startswith("zip"):
        with zipfile.ZipFile(tmp_path / "m.zip", "w", zipfile.ZIP_DEFLATED if "packed" in kind else 0) as archive:
            for name, body in FILES.items():
                archive.writestr(name, body)
        yield Case(zips().ZipSource(SourceContext(tmp_path, {}, 15)), "zip+file://m.zip")
    else:
        files_by_url = {f"memory://m/{name}": body for name, body in FILES.items()}
        yield Case(MemorySource(files_by_url, ranges="without" not in kind), "memory://m")


def test_a_probe_tells_the_size_of_what_opens(case: Case) -> None:
    seen = case.source.probe(f"{case.url}/gemma.gguf", Stop())
    answer = case.source.open(Ask(f"{case.url}/gemma.gguf", size=seen.size, etag=seen.etag), Stop())
    assert seen.size in (SIZE, None)
    assert drained(answer) == BODY


@pytest.mark.parametrize("size", [1, 100, 4096, 1 << 20])
def test_the_whole_comes_whole_whatever_the_buffer(case: Case, size: int) -> None:
    answer = case.source.open(case.ask(), Stop())
    assert (answer.start, answer.restarted) == (0, None)
    assert drained(answer, size) == BODY


@pytest.mark.parametrize(("start", "end"), [(0, 1), (1, 2), (100, 5000), (SIZE - 1, SIZE), (7, SIZE)])
def test_a_part_is_that_part_or_a_restart_that_says_why(case: Case, start: int, end: int) -> None:
    answer = case.source.open(case.ask(start, end), Stop())
    assert answer.start in (start, 0)
    assert answer.end is not None
    assert (answer.restarted is None) == (answer.start == start and answer.end <= end)
    assert drained(answer) == BODY[answer.start : answer.end]
    if answer.start == start and start:
        assert answer.end == end


def test_at_the_end_there_is_nothing_again_and_again(case: Case) -> None:
    answer = case.source.open(case.ask(), Stop())
    buffer = memoryview(bytearray(SIZE * 2))
    place = 0
    while count := answer.readinto(buffer[place:]):
        place += count
    assert answer.readinto(buffer) == answer.readinto(buffer) == 0
    answer.close()
    answer.close()


def test_an_empty_file_is_had(case: Case) -> None:
    answer = case.source.open(Ask(f"{case.url}/empty", 0, 0, 0, proven=True), Stop())
    assert drained(answer) == b""


def test_what_is_not_there_is_not_found(case: Case) -> None:
    with pytest.raises(NotFound):
        case.source.probe(f"{case.url}/nothing", Stop())
    with pytest.raises(NotFound):
        case.source.open(Ask(f"{case.url}/nothing"), Stop())


@pytest.mark.parametrize("size", [SIZE - 1, SIZE + 1])
def test_a_file_of_another_size_is_never_handed_over_whole(case: Case, size: int) -> None:
    with pytest.raises((SizeMismatch, SourceError)):
        drained(case.source.open(Ask(f"{case.url}/gemma.gguf", 0, size, size, proven=True), Stop()))


def test_without_a_digest_another_etag_is_another_file(case: Case) -> None:
    with pytest.raises(UpstreamChanged):
        case.source.open(case.ask(proven=False, etag='"what it was"'), Stop())


def test_with_a_digest_another_etag_is_left_to_the_digest(case: Case) -> None:
    assert drained(case.source.open(case.ask(etag='"what it was"'), Stop())) == BODY


def test_a_stop_stops_everything(case: Case) -> None:
    stop = Stop()
    answer = case.source.open(case.ask(), stop)
    stop.set()
    with pytest.raises(Interrupted):
        while answer.readinto(memoryview(bytearray(1))):
            pass
    answer.close()
    with pytest.raises(Interrupted):
        case.source.probe(f"{case.url}/gemma.gguf", stop)
    with pytest.raises(Interrupted):
        case.source.open(case.ask(), stop)


def test_a_listing_has_every_name_or_is_refused(case: Case) -> None:
    try:
        listed = case.source.list(case.url, Stop())
    except PolicyRefused as refused:
        assert refused.hint
        return
    assert listed.names == tuple(sorted(FILES))
