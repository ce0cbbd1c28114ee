"""What agreed once is remembered by its bytes; forgetting it costs time, never correctness."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemmalock.memo import NAME, agreed, agreement, forget, remember
from gemmalock.version import VERSION

KEY = agreement([b"manifest"], b"lock", "http=False")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root that sync has worked in."""
    (tmp_path / "models/.gemmalock").mkdir(parents=True)
    (tmp_path / "models/.gemmalock/ledger.json").write_bytes(b"{}")
    return tmp_path / "models"


def test_nothing_agrees_before_it_was_remembered(root: Path) -> None:
    assert not agreed(root, KEY)


def test_what_was_remembered_agrees_and_nothing_else(root: Path) -> None:
    remember(root, KEY)
    assert agreed(root, KEY)
    assert not agreed(root, agreement([b"manifest"], b"lock", "http=True"))


def test_what_was_forgotten_agrees_no_more(root: Path) -> None:
    forget(root)
    remember(root, KEY)
    forget(root)
    assert not agreed(root, KEY)


def test_forgetting_goes_through_no_link(root: Path, tmp_path: Path) -> None:
    remember(root, KEY)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/.gemmalock").symlink_to(root / ".gemmalock")
    forget(tmp_path / "other")
    assert agreed(root, KEY)


def test_only_the_last_agreement_is_remembered(root: Path) -> None:
    later = agreement([b"manifest 2"], b"lock", "http=False")
    remember(root, KEY)
    remember(root, later)
    assert agreed(root, later)
    assert not agreed(root, KEY)


def test_remembering_the_same_again_writes_nothing(root: Path) -> None:
    remember(root, KEY)
    before = (root / ".gemmalock" / NAME).stat()
    remember(root, KEY)
    after = (root / ".gemmalock" / NAME).stat()
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)


def test_a_memo_that_came_with_other_files_vouches_for_nothing(root: Path, tmp_path: Path) -> None:
    remember(root, KEY)
    copied = tmp_path / "checkout"
    shutil.copytree(root, copied)  # with its time stamps
    assert agreed(root, KEY)
    assert not agreed(copied, KEY)


def test_without_a_ledger_nothing_is_remembered(root: Path) -> None:
    remember(root, KEY)
    (root / ".gemmalock/ledger.json").unlink()
    assert not agreed(root, KEY)
    remember(root, KEY)
    assert not agreed(root, KEY)


@pytest.mark.parametrize("rotten", [b"", b"\xff\xfe", KEY.encode()[:-1], KEY.encode() + b"\n"])
def test_a_rotten_memo_agrees_with_nothing(root: Path, rotten: bytes) -> None:
    (root / ".gemmalock" / NAME).write_bytes(rotten)
    assert not agreed(root, KEY)


def test_where_there_is_no_state_folder_none_is_made(tmp_path: Path) -> None:
    remember(tmp_path, KEY)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "models/.gemmalock").symlink_to(tmp_path / "elsewhere")
    remember(tmp_path / "models", KEY)
    assert list((tmp_path / "elsewhere").iterdir()) == []


_PAPERS = st.tuples(st.lists(st.binary(), max_size=3), st.binary(), st.text())


@given(_PAPERS, _PAPERS)
def test_different_papers_never_share_a_key(
    one: tuple[list[bytes], bytes, str], other: tuple[list[bytes], bytes, str]
) -> None:
    assert (agreement(*one) == agreement(*other)) == (one == other)


def test_another_version_of_the_program_rests_on_no_agreement_of_this_one(root: Path) -> None:
    assert agreement([b"manifest"], b"lock", "http=False", version=VERSION) == KEY
    remember(root, KEY)
    assert not agreed(root, agreement([b"manifest"], b"lock", "http=False", version=f"{VERSION}.post1"))


def test_bytes_that_move_from_one_paper_to_the_other_are_another_agreement() -> None:
    assert agreement([b"ab"], b"c", "") != agreement([b"a"], b"bc", "")
