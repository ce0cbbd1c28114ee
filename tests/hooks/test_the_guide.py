"""docs/pre-commit.md: its configuration is valid and has every hook, and its session runs as it is pasted."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.guard import CHECKOUT
from tests.hooks.conftest import NO_NETWORK
from tests.running import environment

GUIDE = (CHECKOUT / "docs/pre-commit.md").read_text("utf-8")
HOOKS = {hook["id"]: hook for hook in yaml.safe_load((CHECKOUT / ".pre-commit-hooks.yaml").read_text("utf-8"))}


def block(name: str) -> str:
    """The code between two marks."""
    found = re.search(rf"<!-- {name} -->\n```\w+\n(.*?)```\n<!-- /{name} -->", GUIDE, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_configuration_is_complete_and_valid(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(block("config"), "utf-8")
    command = [sys.executable, "-m", "pre_commit", "validate-config", "config.yaml"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, check=False)
    assert done.returncode == 0, done.stdout
    config = yaml.safe_load(block("config"))
    assert {hook["id"] for hook in config["repos"][0]["hooks"]} == set(HOOKS)
    stages = {stage for hook in HOOKS.values() for stage in hook["stages"]} - {"manual"}
    assert set(config["default_install_hook_types"]) == stages


@pytest.mark.parametrize("name", HOOKS)
def test_the_guide_says_what_each_hook_runs(name: str) -> None:
    assert f"**`{name}`** is `{HOOKS[name]['entry']}`" in GUIDE


def test_the_session_runs_as_it_is_pasted_and_each_hook_refuses_what_it_should(tmp_path: Path) -> None:
    programs, empty = tmp_path / "bin", tmp_path / "empty"
    programs.mkdir()
    empty.mkdir()
    (programs / "gemmalock").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gemmalock "$@"\n')
    (programs / "gemmalock").chmod(0o755)
    done = subprocess.run(
        ["sh", "-e"], cwd=empty, env=environment(NO_NETWORK | {"PATH": f"{programs}:{os.environ['PATH']}"}),
        input=block("session"), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout, done.stderr)
    said = [line for line in done.stdout.splitlines() if not line.startswith(("==", "DOWNLOADED"))]
    for line in ("refused: no weights", "refused: the lock is stale", "refused: another model", "pushed"):
        assert said.count(line) == 1, (done.stdout, done.stderr)
    assert str(empty / "project/models/gemma/model.gguf") in said
    assert "copy.bin: it has the bytes of `gemmalock.yaml::gemma::model.gguf`" in done.stderr
