"""A lock that could not be read, or has a secret in it, is never written; nor is the manifest that it would follow."""

from __future__ import annotations

import pytest

from gemmalock.app.lock_text import refuse_unfit, text_of
from gemmalock.app.papers import Papers
from gemmalock.cli.boundary import ended
from gemmalock.cli.state import State
from gemmalock.collect import Project as Place
from gemmalock.errors import GemmalockError, PolicyRefused, RunRefused
from gemmalock.lockfile import Lock, LockedFile, LockedManifest, LockedModel
from gemmalock.secret import Secret
from gemmalock.settings import Settings
from tests.running import Project

SIZE = 12345678


def lock_of(license: str = "mit", etag: str = '"x"', name: str = "a.bin") -> Lock:
    """A lock of one file."""
    url = f"https://m.example/{name}"
    file = LockedFile.pin(name=name, path=f"m/{name}", url=url, size=SIZE, etag=etag, sha256=None)
    return Lock(
        (
            LockedManifest(
                "gemmalock.yaml", "models", f"sha256:{'0' * 64}", (LockedModel("m", (file,), license=license),)
            ),
        )
    )


@pytest.fixture
def papers(project: Project) -> Papers:
    """A project without a lock."""
    project.write_manifest("version: 1\n")
    return Papers(Place(project.folder), Settings())


@pytest.mark.parametrize(
    ("lock", "told"),
    [
        (lock_of(license="x\ud800y"), "which is no letter"),
        (lock_of(license="x\x1b[31my"), "license"),
        (lock_of(etag="x\r\ny"), "etag"),
    ],
    ids=["half a pair", "a control", "two lines"],
)
def test_what_could_not_be_read_is_not_written(papers: Papers, project: Project, lock: Lock, told: str) -> None:
    with pytest.raises(RunRefused, match="would be none that can be read") as caught:
        papers.write_lock(lock)
    assert told in caught.value.message
    assert caught.value.exit_code == 1
    assert not project.lock.exists()


def test_what_can_be_read_is_written_once(papers: Papers, project: Project) -> None:
    assert papers.write_lock(lock_of()) is True
    assert project.lock.read_bytes() == text_of(lock_of())
    assert papers.write_lock(lock_of()) is False


@pytest.mark.parametrize("lock", [lock_of(etag=f'"{SIZE}"'), lock_of(name=f"{SIZE}.bin"), lock_of(license=f"{SIZE}")])
def test_a_secret_in_what_somebody_said_is_not_written(papers: Papers, project: Project, lock: Lock) -> None:
    Secret(str(SIZE))
    with pytest.raises(PolicyRefused, match="a credential in it"):
        papers.write_lock(lock)
    assert not project.lock.exists()


def test_a_size_is_no_secret() -> None:
    Secret(str(SIZE))
    refuse_unfit(text_of(lock_of()))
    with pytest.raises(GemmalockError):
        refuse_unfit(text_of(lock_of(license=f'"size": {SIZE}')))


@pytest.mark.parametrize("arguments", [["add", "two", "file://b.bin"], ["remove", "one"]])
def test_an_edit_whose_lock_is_refused_leaves_the_manifest(
    project: Project, monkeypatch: pytest.MonkeyPatch, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (project.folder / "b.bin").write_bytes(b"weights")
    text = "version: 1\nmodels:\n  one:\n    files:\n      - url: file://b.bin\n"
    project.write_manifest(text)
    monkeypatch.chdir(project.folder)
    monkeypatch.setattr("gemmalock.app.lock_text.write_lock", lambda lock: b'{"lock_version": 1}\n')
    assert ended(State(), arguments) == 1
    assert "would be none that can be read" in capsys.readouterr().err
    assert project.manifest.read_text() == text
    assert not project.lock.exists()
