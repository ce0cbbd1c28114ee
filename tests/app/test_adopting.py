"""What the hub's own client has on this machine is not downloaded, once its bytes were hashed."""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import pytest

import gemmalock
from gemmalock.codec.lock_json import write_lock
from gemmalock.lockfile import Lock, LockedFile, LockedManifest, LockedModel
from gemmalock.outcome import FileOutcome
from gemmalock.sources.hub_cache import blobs_of
from gemmalock.sources.places import hub_cache
from tests.running import Project

BODY = b"weights of a model " * 100_000
DIGEST = hashlib.sha256(BODY).hexdigest()
BLOB = "b" * 40
COMMIT = "c" * 40
USER = pwd.getpwuid(os.getuid())


def file_at(place: str, etag: str = f'"{DIGEST}"') -> LockedFile:
    """The file, locked at a place of the hub."""
    url = f"https://huggingface.co/{place}/resolve/{COMMIT}/a.gguf"
    return LockedFile.pin(name="a.gguf", path="m/a.gguf", url=url, size=len(BODY), etag=etag, sha256=DIGEST)


@pytest.fixture
def blob(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose lock has the file, and the file in the client's cache."""
    model = LockedModel("m", (file_at("owner/name"),), source="hf://owner/name@main", revision=COMMIT)
    lock = Lock((LockedManifest("gemmalock.yaml", "models", f"sha256:{'0' * 64}", (model,)),))
    project.lock.write_bytes(write_lock(lock))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    path = tmp_path / "hf/hub/models--owner--name/blobs" / DIGEST
    path.parent.mkdir(parents=True)
    path.write_bytes(BODY)
    return path


def synced(project: Project, **options: object) -> FileOutcome:
    """The one file of a sync by the lock alone, without a network."""
    (outcome,) = gemmalock.sync(project.folder, frozen=True, offline=True, **options).files  # type: ignore[arg-type]
    return outcome


def test_a_blob_with_the_locked_digest_is_adopted_without_a_network(project: Project, blob: Path) -> None:
    outcome = synced(project)
    assert (outcome.verb, outcome.bytes_fetched, outcome.error) == ("ADOPTED", 0, None)
    assert outcome.notes == ("not downloaded: the hub client's cache has it, in `models--owner--name`",)
    assert (project.folder / "models/m/a.gguf").read_bytes() == BODY
    assert blob.read_bytes() == BODY
    assert synced(project).verb == "UP TO DATE"


def test_what_is_to_be_adopted_is_foreseen(project: Project, blob: Path) -> None:
    (planned,) = gemmalock.sync(project.folder, frozen=True, offline=True, dry_run=True).files
    assert (planned.verb, planned.error) == ("WOULD ADOPT", None)
    assert "the hub client's cache has a file of its digest's name" in planned.reason
    assert not (project.folder / "models/m/a.gguf").exists()


def stored(project: Project) -> list[Path]:
    """What the store has that is as large as the file, under whatever name."""
    store = Path(os.environ["GEMMALOCK_STORE"])
    return [path for path in store.rglob("*") if path.is_file() and path.stat().st_size == len(BODY)]


@pytest.fixture
def no_reflinks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file system that shares no blocks."""
    monkeypatch.setattr("gemmalock.links._WITHOUT_REFLINKS", {tmp_path.stat().st_dev})


@pytest.mark.usefixtures("no_reflinks")
def test_a_file_of_ones_own_is_one_with_the_stores_and_read_only(project: Project, blob: Path) -> None:
    blob.chmod(0o664)
    synced(project)
    (object,) = stored(project)
    assert (blob.stat().st_ino, stat.S_IMODE(blob.stat().st_mode)) == (object.stat().st_ino, 0o444)


@pytest.mark.usefixtures("no_reflinks")
def test_a_file_of_somebody_else_is_copied_and_stays_as_it_is(
    project: Project, blob: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob.chmod(0o664)
    if os.geteuid() == 0:
        os.chown(blob, 12345, -1)
        stranger = 12345
    else:
        monkeypatch.setattr("gemmalock.app.adopting.is_ours", lambda found: found.st_ino != blob.stat().st_ino)
        stranger = os.geteuid()
    assert synced(project).verb == "ADOPTED"
    (object,) = stored(project)
    assert (blob.stat().st_uid, stat.S_IMODE(blob.stat().st_mode), blob.stat().st_nlink) == (stranger, 0o664, 1)
    assert (object.stat().st_uid, stat.S_IMODE(object.stat().st_mode)) == (os.geteuid(), 0o444)
    assert object.read_bytes() == BODY


@pytest.mark.usefixtures("no_reflinks")
def test_a_file_that_another_one_replaces_meanwhile_is_not_taken(
    project: Project, blob: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([True, False])
    monkeypatch.setattr("gemmalock.app.adopting.is_ours", lambda found: next(looks))
    assert synced(project, link_mode="hardlink").error is not None
    assert stored(project) == []


@pytest.mark.parametrize("spoiled", ["other bytes", "too short", "a link", "not there"])
def test_what_is_not_the_file_is_left_alone(project: Project, blob: Path, tmp_path: Path, spoiled: str) -> None:
    match spoiled:
        case "other bytes":
            blob.write_bytes(BODY[:-1] + b"!")
        case "too short":
            blob.write_bytes(BODY[:-1])
        case "a link":
            blob.rename(tmp_path / "elsewhere")
            blob.symlink_to(tmp_path / "elsewhere")
        case _:
            blob.unlink()
    before = blob.read_bytes() if blob.exists() else None
    outcome = synced(project)
    assert outcome.error is not None
    assert outcome.error.code == "offline"
    assert (blob.read_bytes() if blob.exists() else None) == before
    assert not (project.folder / "models/m").exists()
    assert stored(project) == []


def test_adopting_can_be_turned_off(project: Project, blob: Path) -> None:
    outcome = synced(project, no_adopt_caches=True)
    assert outcome.error is not None
    assert outcome.error.code == "offline"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_blob_that_cannot_be_read_is_left_alone(project: Project, blob: Path) -> None:
    blob.chmod(0)
    outcome = synced(project)
    assert outcome.error is not None


@pytest.mark.parametrize("linked", [True, False])
def test_what_is_to_be_adopted_needs_room_where_it_is_copied(
    project: Project, blob: Path, monkeypatch: pytest.MonkeyPatch, linked: bool
) -> None:
    full = type(shutil.disk_usage(project.folder))(1, 1, 0)
    monkeypatch.setattr("shutil.disk_usage", lambda path: full)
    monkeypatch.setattr("gemmalock.app.room.is_ours", lambda found: linked)
    outcome = synced(project)
    assert (outcome.verb, outcome.error and outcome.error.code) == (
        ("ADOPTED", None) if linked else ("FAILED", "no_space")
    )


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"HOME": "/home/ada"}, "/home/ada/.cache/huggingface/hub"),
        ({"HOME": "/home/ada", "XDG_CACHE_HOME": "/cache"}, "/cache/huggingface/hub"),
        ({"HOME": "/home/ada", "HF_HOME": "/hf"}, "/hf/hub"),
        ({"HF_HOME": "/hf", "HF_HUB_CACHE": "/models"}, "/models"),
        ({"HF_HOME": "/hf", "HUGGINGFACE_HUB_CACHE": "/older"}, "/older"),
        ({"HOME": "/home/ada", "HF_HOME": "~/hf"}, "/home/ada/hf/hub"),
        ({"HOME": "/home/ada", "HF_HUB_CACHE": "~//hub"}, "/home/ada/hub"),
        ({"HOME": "/home/ada", "HF_HUB_CACHE": "~"}, "/home/ada"),
        ({"HOME": "/home/ada", "XDG_CACHE_HOME": "~/cache"}, "/home/ada/cache/huggingface/hub"),
        ({"HOME": "/home/ada", "HF_HUB_CACHE": f"~{USER.pw_name}/hub"}, f"{USER.pw_dir}/hub"),
        ({}, f"{USER.pw_dir}/.cache/huggingface/hub"),
    ],
)
def test_the_cache_is_where_the_client_has_it(environ: dict[str, str], folder: str) -> None:
    assert hub_cache(environ) == Path(folder)


@pytest.mark.parametrize(
    "environ",
    [{"HF_HOME": "~nobody-of-this-name/hf"}, {"HF_HUB_CACHE": "~nobody-of-this-name"}, {"HF_HOME": "~/hf"}, {}],
)
def test_where_there_is_no_home_folder_there_is_no_cache(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    assert hub_cache(environ) is None


@pytest.mark.parametrize(
    ("file", "places"),
    [
        (file_at("owner/name"), [f"models--owner--name/blobs/{DIGEST}"]),
        (file_at("owner/name", f'"{BLOB}"'), [f"models--owner--name/blobs/{name}" for name in (DIGEST, BLOB)]),
        (file_at("owner/name", '"../../x"'), [f"models--owner--name/blobs/{DIGEST}"]),
        (file_at("gpt2", "W/x"), [f"models--gpt2/blobs/{DIGEST}"]),
        (file_at("datasets/owner/name", "x"), [f"datasets--owner--name/blobs/{DIGEST}"]),
    ],
)
def test_a_blob_is_looked_for_by_its_digest_and_by_its_tag(file: LockedFile, places: list[str]) -> None:
    assert list(blobs_of(file, Path("/hub"), ())) == [Path("/hub") / place for place in places]


def test_a_blob_is_looked_for_in_every_repository_by_its_digest() -> None:
    others = ("models--owner--former", "models--owner--name")
    elsewhere = Path(f"/hub/models--owner--former/blobs/{DIGEST}")
    found = list(blobs_of(file_at("owner/name", f'"{BLOB}"'), Path("/hub"), others))
    assert [place.parent.parent.name for place in found] == ["models--owner--name"] * 2 + ["models--owner--former"]
    assert list(blobs_of(replace(file_at("owner/name"), url="https://a.example/a.gguf"), Path("/hub"), others)) == [
        elsewhere,
        Path(f"/hub/models--owner--name/blobs/{DIGEST}"),
    ]


def test_a_blob_of_another_repository_is_adopted(project: Project, blob: Path) -> None:
    former = blob.parent.parent
    former.rename(former.with_name("models--owner--former"))
    outcome = synced(project)
    assert (outcome.verb, outcome.error) == ("ADOPTED", None)
    assert outcome.notes == ("not downloaded: the hub client's cache has it, in `models--owner--former`",)
