"""`rewrite` from end to end: another server is asked, and the lock says what it said."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import LARGE, Shop
from tests.servers.fileserver import FileServer

DECLARED = "https://models.example.org/hub"


def declare(shop: Shop, server: FileServer) -> None:
    """A model whose server is nowhere, and a mirror of it."""
    shop.project.write_manifest(f"version: 1\nmodels:\n  gemma:\n    files:\n      - url: {DECLARED}/model.gguf\n")
    (shop.project.folder / "gemmalock.toml").write_text(f"[rewrite]\n'{DECLARED}/' = '{server.origin}'\n")


def test_a_mirror_is_asked_and_the_lock_has_the_declared_url(shop: Shop) -> None:
    declare(shop, shop.server)
    assert shop.here("lock").code == 0
    assert f'"{DECLARED}/model.gguf"' in shop.project.lock.read_text()
    assert shop.server.origin not in shop.project.lock.read_text()
    done = shop.here("sync", "--locked", "-vv")
    assert done.code == 0, done.err
    assert (shop.project.folder / "models/gemma/model.gguf").read_bytes() == LARGE
    step = f"`{DECLARED}/model.gguf` is asked for at `{shop.server.origin}/model.gguf`, as `rewrite` says"
    assert done.err.splitlines().count(step) == 1


def test_what_is_asked_elsewhere_is_told_only_to_those_who_ask_twice(shop: Shop) -> None:
    declare(shop, shop.server)
    assert "is asked for at" not in shop.here("lock", "-v").err
    assert shop.here("lock", "--check").code == 0


def test_a_mirror_is_trusted_no_more_than_the_lock(shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    declare(shop, shop.server)
    shop.here("lock", "--hash")
    monkeypatch.setenv("GEMMALOCK_STORE", str(tmp_path / "empty"))
    shop.server.put("/model.gguf", bytes(len(LARGE)))
    report = shop.report("sync", "--locked", code=1)
    assert report["files"][0]["error"]["code"] in ("digest_mismatch", "upstream_changed")
    assert not (shop.project.folder / "models/gemma/model.gguf").exists()


def test_an_error_of_a_mirror_names_both_places(shop: Shop) -> None:
    declare(shop, shop.server)
    shop.here("lock")
    del shop.server.files["/model.gguf"]
    (file,) = shop.report("sync", "--locked", code=1)["files"]
    assert f"{shop.server.origin}/model.gguf" in file["error"]["message"]
    assert f"from `{DECLARED}/model.gguf`" in file["error"]["message"]
