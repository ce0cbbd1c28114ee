"""How the bytes of one file come to another name."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gemmalock import links
from gemmalock.durable import open_folder
from gemmalock.errors import DigestMismatch, Interrupted
from gemmalock.links import ATTEMPTS, LinkMode, link
from gemmalock.stopping import Stop

CONTENT = b"tensor" * 300_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A stored object."""
    path = tmp_path / "object"
    path.write_bytes(CONTENT)
    path.chmod(0o444)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder that the new name goes to."""
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


def linked(source: Path, root: Path, mode: LinkMode, sha256: str | None = SHA256) -> LinkMode:
    """Link to `root/model`."""
    with open_folder(root) as folder:
        return link(source, folder, "model", mode, sha256=sha256)


def failing(number: int) -> Callable[[Path, int, str], None]:
    """A way of linking that the file system does not have."""

    def fail(source: Path, folder_fd: int, name: str) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def without(monkeypatch: pytest.MonkeyPatch, **missing: int) -> None:
    """Let ways of linking fail with these error numbers."""
    makers = dict(links._MAKERS) | {LinkMode(mode): failing(number) for mode, number in missing.items()}
    monkeypatch.setattr(links, "_MAKERS", makers)


def test_every_mode_has_its_attempts() -> None:
    assert set(ATTEMPTS) == set(LinkMode)
    assert all(LinkMode.AUTO not in attempts for attempts in ATTEMPTS.values())


@pytest.mark.parametrize("mode", list(LinkMode))
def test_the_bytes_are_there_however_they_came(source: Path, root: Path, mode: LinkMode) -> None:
    used = linked(source, root, mode)
    assert used in ATTEMPTS[mode]
    assert (root / "model").read_bytes() == CONTENT
    assert os.listdir(root) == ["model"]


@pytest.mark.parametrize("mode", list(LinkMode))
def test_a_name_that_is_taken_is_never_replaced(source: Path, root: Path, mode: LinkMode) -> None:
    (root / "model").write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        linked(source, root, mode)
    assert (root / "model").read_bytes() == b"precious"


@pytest.mark.parametrize("number", sorted(links.CANNOT_SHARE))
def test_what_cannot_be_shared_is_copied(
    source: Path, root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    without(monkeypatch, reflink=number)
    assert linked(source, root, LinkMode.AUTO) is LinkMode.HARDLINK
    (root / "model").unlink()
    assert linked(source, root, LinkMode.REFLINK) is LinkMode.COPY
    (root / "model").unlink()
    without(monkeypatch, reflink=number, hardlink=number)
    for mode in (LinkMode.AUTO, LinkMode.HARDLINK):
        assert linked(source, root, mode) is LinkMode.COPY
        (root / "model").unlink()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.ENOENT])
def test_a_disk_that_fails_is_not_tried_in_another_way(
    source: Path, root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    without(monkeypatch, reflink=number, hardlink=number, symlink=number)
    for mode in (LinkMode.AUTO, LinkMode.REFLINK, LinkMode.HARDLINK, LinkMode.SYMLINK):
        with pytest.raises(OSError) as failed:
            linked(source, root, mode)
        assert failed.value.errno == number
    assert os.listdir(root) == []


def test_whose_file_it_is_afterwards(source: Path, root: Path) -> None:
    linked(source, root, LinkMode.HARDLINK)
    assert source.samefile(root / "model")
    assert (root / "model").stat().st_mode & 0o777 == 0o444
    (root / "model").unlink()
    linked(source, root, LinkMode.COPY)
    assert not source.samefile(root / "model")
    assert (root / "model").stat().st_mode & 0o777 == 0o644
    (root / "model").unlink()
    linked(source, root, LinkMode.SYMLINK)
    assert (root / "model").readlink() == source


def test_a_copy_of_other_bytes_is_never_left(source: Path, root: Path) -> None:
    with pytest.raises(DigestMismatch, match=SHA256):
        linked(source, root, LinkMode.COPY, sha256="0" * 64)
    assert os.listdir(root) == []


def test_a_copy_can_be_stopped(source: Path, root: Path) -> None:
    stop = Stop()
    stop.set()
    with open_folder(root) as folder, pytest.raises(Interrupted):
        link(source, folder, "model", LinkMode.COPY, stop=stop)
    assert os.listdir(root) == []


def test_a_source_that_is_a_link_is_not_followed(source: Path, root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(source)
    for mode in (LinkMode.COPY, LinkMode.REFLINK):
        with pytest.raises(OSError, match="symbolic"):
            linked(tmp_path / "link", root, mode)
    assert os.listdir(root) == []


def test_a_source_that_is_not_there_makes_nothing(root: Path, tmp_path: Path) -> None:
    for mode in (LinkMode.AUTO, LinkMode.REFLINK, LinkMode.HARDLINK, LinkMode.COPY):
        with pytest.raises(FileNotFoundError):
            linked(tmp_path / "missing", root, mode)
    assert os.listdir(root) == []


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a second file system")
def test_across_file_systems_it_is_a_copy(source: Path) -> None:
    folder = Path("/dev/shm")
    if folder.stat().st_dev == source.stat().st_dev:
        pytest.skip("the temporary folder is on the same file system")
    name = f"gemmalock-test-{os.getpid()}"
    try:
        with open_folder(folder) as number:
            assert link(source, number, name, LinkMode.AUTO, sha256=SHA256) is LinkMode.COPY
        assert (folder / name).read_bytes() == CONTENT
    finally:
        (folder / name).unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("mode", "reflinks", "size", "made"),
    [
        (LinkMode.HARDLINK, True, len(CONTENT), True),
        (LinkMode.AUTO, False, len(CONTENT), True),
        (LinkMode.AUTO, True, len(CONTENT), False),
        (LinkMode.COPY, False, len(CONTENT), False),
        (LinkMode.SYMLINK, False, len(CONTENT), False),
        (LinkMode.HARDLINK, False, len(CONTENT) + 1, False),
    ],
)
def test_a_hard_link_is_made_at_once_where_it_is_what_would_be_made(
    source: Path, root: Path, monkeypatch: pytest.MonkeyPatch, mode: LinkMode, reflinks: bool, size: int, made: bool
) -> None:
    monkeypatch.setattr(links, "_WITHOUT_REFLINKS", set() if reflinks else {source.stat().st_dev})
    with open_folder(root) as folder:
        found = links.hardlink_whole(source, folder, "model", mode, size)
    assert (found is not None, (root / "model").exists()) == (made, made)
    assert found is None or os.path.samestat(found, (root / "model").stat())


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EMLINK, errno.EIO])
def test_a_hard_link_that_cannot_be_had_takes_another_way(
    source: Path, root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(links, "_MAKERS", {LinkMode.HARDLINK: failing(number)})
    with open_folder(root) as folder:
        if number == errno.EIO:
            with pytest.raises(OSError, match="Input"):
                links.hardlink_whole(source, folder, "model", LinkMode.HARDLINK, len(CONTENT))
        else:
            assert links.hardlink_whole(source, folder, "model", LinkMode.HARDLINK, len(CONTENT)) is None
