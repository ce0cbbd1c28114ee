"""What the hub's own client has on this machine is not downloaded, once its bytes were hashed."""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
from pathlib import Path

import pytest

import gemmalock
from gemmalock.codec.lock_json import write_lock
from gemmalock.lockfile import Lock, LockedFile, LockedManifest, LockedModel
from gemmalock.outcome import FileOutcome
from gemmalock.sources.hub_cache import blobs_of, cache_folder
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


def test_what_is_adopted_is_on_the_disk_once_where_that_can_be(project: Project, blob: Path) -> None:
    synced(project)
    here = (project.folder / "models/m/a.gguf").stat()
    assert here.st_ino == blob.stat().st_ino or here.st_nlink == 1


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


def test_adopting_can_be_turned_off(project: Project, blob: Path) -> None:
    outcome = synced(project, no_adopt_caches=True)
    assert outcome.error is not None
    assert outcome.error.code == "offline"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_blob_that_cannot_be_read_is_left_alone(project: Project, blob: Path) -> None:
    blob.chmod(0)
    outcome = synced(project)
    assert outcome.error is not None


def test_a_large_file_that_is_to_be_adopted_needs_no_room(
    project: Project, blob: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = type(shutil.disk_usage(project.folder))(1, 1, 0)
    monkeypatch.setattr("shutil.disk_usage", lambda path: full)
    assert synced(project).verb == "ADOPTED"


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
    assert cache_folder(environ) == Path(folder)


@pytest.mark.parametrize(
    "environ",
    [{"HF_HOME": "~nobody-of-this-name/hf"}, {"HF_HUB_CACHE": "~nobody-of-this-name"}, {"HF_HOME": "~/hf"}, {}],
)
def test_where_there_is_no_home_folder_there_is_no_cache(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    assert cache_folder(environ) is None
    assert list(blobs_of(file_at("owner/name"), environ)) == []


@pytest.mark.parametrize(
    ("file", "places"),
    [
        (file_at("owner/name"), [f"models--owner--name/blobs/{DIGEST}"] * 2),
        (file_at("owner/name", f'"{BLOB}"'), [f"models--owner--name/blobs/{name}" for name in (DIGEST, BLOB)]),
        (file_at("owner/name", '"../../x"'), [f"models--owner--name/blobs/{DIGEST}"]),
        (file_at("gpt2", "W/x"), [f"models--gpt2/blobs/{DIGEST}"]),
        (file_at("datasets/owner/name", "x"), [f"datasets--owner--name/blobs/{DIGEST}"]),
    ],
)
def test_a_blob_is_looked_for_by_its_digest_and_by_its_tag(file: LockedFile, places: list[str]) -> None:
    assert list(blobs_of(file, {"HF_HUB_CACHE": "/hub"})) == [Path("/hub") / place for place in places]
