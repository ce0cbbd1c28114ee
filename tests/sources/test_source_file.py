"""FileSource: folders of this machine."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from gemmalock.errors import (
    ConnectionFailed,
    Interrupted,
    NotFound,
    PermissionRefused,
    PolicyRefused,
    SizeMismatch,
    UpstreamChanged,
)
from gemmalock.ports import Ask
from gemmalock.sources.file import FileSource
from gemmalock.stopping import Stop
from tests.sources.conftest import drained

BODY = bytes(range(256)) * 30


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "models"
    (home / "tokenizer").mkdir(parents=True)
    (home / "gemma.gguf").write_bytes(BODY)
    (home / "tokenizer" / "100% café.json").write_bytes(b"{}")
    return home


def test_relative_absolute_and_escaped_urls_name_the_same_file(folder: Path) -> None:
    source = FileSource(folder.parent)
    seen = {
        source.probe(url, Stop())
        for url in ("file://models/gemma.gguf", f"file://{folder}/gemma.gguf", "file://models/%67emma.gguf")
    }
    assert {probe.sha256 for probe in seen} == {hashlib.sha256(BODY).hexdigest()}
    assert source.probe("file://models/tokenizer/100%25%20caf%C3%A9.json", Stop()).size == 2


def test_another_content_has_another_etag(folder: Path) -> None:
    source = FileSource(folder)
    before = source.probe("file://gemma.gguf", Stop())
    (folder / "gemma.gguf").write_bytes(BODY[::-1])
    after = source.probe("file://gemma.gguf", Stop())
    assert before.size == after.size
    assert before.etag != after.etag


def test_a_folder_is_listed_with_the_links_that_stay_in_it(folder: Path) -> None:
    (folder / "inside.gguf").symlink_to("gemma.gguf")
    (folder / "again").symlink_to(".")
    (folder / "outside").symlink_to(folder.parent)
    (folder.parent / "secret").write_bytes(b"x")
    (folder / "secret").symlink_to("../secret")
    (folder / "dangling").symlink_to("nowhere")
    os.mkfifo(folder / "pipe")
    listed = FileSource(folder.parent).list("file://models", Stop())
    assert listed.names == ("gemma.gguf", "inside.gguf", "tokenizer/100% café.json")


def test_links_that_lead_nowhere_are_left_out(folder: Path) -> None:
    """Round in a circle, below a file, to a name that cannot be."""
    (folder / "circle").symlink_to("circle")
    (folder / "one").symlink_to("two")
    (folder / "two").symlink_to("one")
    (folder / "below").symlink_to("gemma.gguf/below")
    (folder / "endless").symlink_to("x" * 300)
    listed = FileSource(folder.parent).list("file://models", Stop())
    assert listed.names == ("gemma.gguf", "tokenizer/100% café.json")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_list_that_would_lack_something_is_an_error(folder: Path) -> None:
    """A link to a file in a folder that may not be entered: nobody can say what it is."""
    (folder / "a-link").symlink_to("tokenizer/100% café.json")
    (folder / "tokenizer").chmod(0)
    try:
        with pytest.raises(PermissionRefused):
            FileSource(folder.parent).list("file://models", Stop())
    finally:
        (folder / "tokenizer").chmod(0o700)


MISSING = ["file://nothing", "file://gemma.gguf/below", "file://tokenizer", "file://pipe", "file://", "file://a%00b"]


@pytest.mark.parametrize("url", MISSING)
def test_what_is_no_regular_file_is_not_found(folder: Path, url: str) -> None:
    os.mkfifo(folder / "pipe")
    source = FileSource(folder)
    with pytest.raises(NotFound):
        source.probe(url, Stop())
    with pytest.raises(NotFound):
        source.open(Ask(url), Stop())


def test_a_file_is_no_folder_and_a_missing_one_is_named(folder: Path) -> None:
    for url in ("file://gemma.gguf", "file://nothing"):
        with pytest.raises(NotFound, match=url):
            FileSource(folder).list(url, Stop())


def test_another_scheme_is_refused(folder: Path) -> None:
    with pytest.raises(PolicyRefused):
        FileSource(folder).probe("https://models.example.org/x", Stop())


def test_another_size_and_without_a_digest_another_content_are_told(folder: Path) -> None:
    source = FileSource(folder)
    with pytest.raises(SizeMismatch, match=f"has {len(BODY)} bytes, the lock says 5"):
        source.open(Ask("file://gemma.gguf", 0, 5, 5), Stop())
    with pytest.raises(UpstreamChanged):
        source.open(Ask("file://gemma.gguf", 0, len(BODY), len(BODY), etag='"other"'), Stop())


def test_a_file_that_shrinks_while_it_is_read_is_cut_short(folder: Path) -> None:
    answer = FileSource(folder).open(Ask("file://gemma.gguf", 0, len(BODY), len(BODY), proven=True), Stop())
    os.truncate(folder / "gemma.gguf", 100)
    with pytest.raises(ConnectionFailed, match="too early"):
        drained(answer)


def test_hashing_and_reading_end_when_it_is_time_to_stop(folder: Path) -> None:
    stop = Stop()
    source = FileSource(folder)
    answer = source.open(Ask("file://gemma.gguf"), stop)
    stop.set()
    with pytest.raises(Interrupted):
        source.probe("file://gemma.gguf", stop)
    with pytest.raises(Interrupted):
        answer.readinto(memoryview(bytearray(9)))
    answer.close()


def test_readers_do_not_disturb_each_other_and_leave_nothing_open(folder: Path) -> None:
    source = FileSource(folder)
    before = len(os.listdir("/dev/fd"))
    came: dict[int, bytes] = {}

    def read(start: int) -> None:
        came[start] = drained(
            source.open(Ask("file://gemma.gguf", start, start + 500, len(BODY), proven=True), Stop()), 7
        )

    threads = [threading.Thread(target=read, args=(start,)) for start in range(0, 5000, 500)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert came == {start: BODY[start : start + 500] for start in range(0, 5000, 500)}
    assert len(os.listdir("/dev/fd")) == before
