"""Small files that are whole, whatever happens."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gemmalock import durable
from gemmalock.durable import check_private, create_at, make_private, open_folder, sync_folder, write_file
from gemmalock.errors import PolicyRefused


@pytest.fixture(params=["unnamed", "named"], autouse=True)
def ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With unnamed files, and as on a file system that has none."""
    if request.param == "named":
        monkeypatch.setattr(durable, "_UNNAMED", 0)


def test_a_new_file_has_all_bytes_and_its_mode_and_nothing_is_left_beside(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    write_file(tmp_path / "record", content)
    assert (tmp_path / "record").read_bytes() == content
    assert (tmp_path / "record").stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["record"]


@pytest.mark.parametrize("mode", [0o640, 0o600, 0o444, 0o664])
def test_a_file_that_is_there_keeps_its_permissions(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "record"
    path.write_bytes(b"old")
    path.chmod(mode)
    write_file(path, b"new", 0o644)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", mode)


def test_a_name_of_the_greatest_length(tmp_path: Path) -> None:
    write_file(tmp_path / ("n" * 255), b"new")
    assert os.listdir(tmp_path) == ["n" * 255]


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "record").symlink_to("precious")
    write_file(tmp_path / "record", b"new")
    assert not (tmp_path / "record").is_symlink()
    assert (tmp_path / "precious").read_bytes() == b"precious"


def test_what_a_crash_left_beside_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    left = tmp_path / f".{hashlib.sha256(b'record').hexdigest()[:16]}.new"
    left.symlink_to("precious")
    for _ in range(2):
        write_file(tmp_path / "record", b"new")
    assert (tmp_path / "record").read_bytes() == b"new"
    assert (tmp_path / "precious").read_bytes() == b"precious"
    if durable._UNNAMED:
        assert sorted(os.listdir(tmp_path)) == ["precious", "record"]


def test_a_folder_cannot_be_replaced_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "record" / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="irectory"):
        write_file(tmp_path / "record", b"new")
    assert os.listdir(tmp_path) == ["record"]


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_file(tmp_path / "missing" / "record", b"new")
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "missing")


def test_a_folder_that_goes_meanwhile_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "going"
    folder.mkdir()
    with open_folder(folder) as number:
        folder.rmdir()
        with pytest.raises(FileNotFoundError):
            create_at(number, "claim", b"mine")
        with pytest.raises(FileNotFoundError):
            durable.replace_at(number, "record", b"mine")


def test_only_one_creates(tmp_path: Path) -> None:
    won: list[bytes] = []

    def create(content: bytes) -> None:
        with open_folder(tmp_path) as folder:
            try:
                create_at(folder, "claim", content, synced=False)
            except FileExistsError:
                return
            won.append(content)

    threads = [threading.Thread(target=create, args=(b"%d" % number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [(tmp_path / "claim").read_bytes()]
    assert os.listdir(tmp_path) == ["claim"]


def test_many_writers_of_one_file_leave_one_whole_file(tmp_path: Path) -> None:
    contents = [bytes([number]) * 100_000 for number in range(8)]

    def write(content: bytes) -> None:
        for _ in range(10):
            write_file(tmp_path / "record", content)
            assert (tmp_path / "record").read_bytes() in contents

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "record").read_bytes() in contents
    assert os.listdir(tmp_path) == ["record"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, ways: None) -> None:
    text = "import resource, signal, sys; from pathlib import Path; from gemmalock import durable\n"
    text += f"durable._UNNAMED = {durable._UNNAMED}\n"
    text += "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
    text += "durable.write_file(Path(sys.argv[1]), b'n' * 2000)"
    (tmp_path / "record").write_bytes(b"old")
    command = [sys.executable, "-B", "-c", text, str(tmp_path / "record")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "File too large" in ended.stderr
    assert (tmp_path / "record").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["record"]


def test_a_private_folder_is_made_once_and_refused_when_it_is_shared(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "store"
    make_private(folder)
    make_private(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    with pytest.raises(PolicyRefused) as refused:
        make_private(folder)
    assert str(folder) in refused.value.message and "chmod" in refused.value.hint
    folder.chmod(0o1777)
    check_private(folder)


def test_every_folder_that_is_made_outlives_a_power_cut(tmp_path: Path, synced: list[Path]) -> None:
    make_private(tmp_path / "a" / "b" / "c")
    assert synced == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]
    assert (tmp_path / "a" / "b" / "c").stat().st_mode & 0o777 == 0o700
