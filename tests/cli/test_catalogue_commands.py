"""`list --catalogue` and `init --from NAME`, as they are typed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gemmalock.cli.boundary import run
from gemmalock.codec.report_json import report_problems
from gemmalock.resources import catalogue_folder
from tests.cli.conftest import Here, Shop
from tests.running import Project, environment

NAMES = sorted(path.stem for path in catalogue_folder().glob("*.yaml"))


def test_the_catalogue_is_listed_where_there_is_no_project(here: Here) -> None:
    done = here("list", "--catalogue")
    *rows, closing = done.out.splitlines()
    assert (done.code, done.err) == (0, "")
    assert [row.split()[0] for row in rows] == NAMES
    assert closing == f"== {len(NAMES)} in the catalogue; `gemmalock init --from NAME` begins with one =="


def test_a_row_says_what_it_is_whether_it_is_gated_and_its_tags(here: Here) -> None:
    assert here("list", "--catalogue", "-k", "gecko and 64 or seq2048").out.splitlines() == [
        "embeddinggemma-seq2048  gated  EmbeddingGemma 300M for 2048 tokens: an embedding model with its tokenizer, "
        "about 196 MB  #embedding #tflite",
        "gecko-seq64                    Gecko 110M (English) for 64 tokens: an embedding model with its tokenizer, "
        "about 110 MB  #embedding #tflite",
        "== 2 in the catalogue; `gemmalock init --from NAME` begins with one ==",
    ]


def test_the_report_of_the_catalogue_has_files_and_licence_pages(here: Here) -> None:
    done = here("list", "--catalogue", "-k", "embeddinggemma and seq512", "-m", "gated", "--json")
    assert report_problems(done.out) == []
    report = done.json()
    assert (report["command"], report["exit_code"], report["lock"]) == ("list", 0, None)
    assert report["facts"]["catalogue"] == [
        {
            "name": "embeddinggemma-seq512",
            "title": "EmbeddingGemma 300M for 512 tokens: an embedding model with its tokenizer, about 179 MB",
            "tags": ["embedding", "gated", "tflite"],
            "gated": True,
            "licence_pages": ["https://huggingface.co/litert-community/embeddinggemma-300m"],
            "models": [
                {
                    "name": "embeddinggemma-seq512",
                    "source": "hf://litert-community/embeddinggemma-300m@main",
                    "files": ["embeddinggemma-300M_seq512_mixed-precision.tflite", "sentencepiece.model"],
                    "tags": ["embedding", "gated", "tflite"],
                }
            ],
        }
    ]


@pytest.mark.parametrize("words", [["gemma"], ["--deselect", "gemma"], ["--lf"], ["--ff"], ["--co"]])
def test_what_chooses_files_of_a_lock_does_not_go_with_the_catalogue(shop: Shop, words: list[str]) -> None:
    done = shop.here("list", "--catalogue", *words)
    assert (done.code, done.out) == (4, "")
    assert "`-k EXPR` and `-m EXPR` go with it" in done.err


def test_a_choice_that_leaves_nothing_is_exit_code_5_and_a_broken_one_4(here: Here) -> None:
    done = here("list", "--catalogue", "-k", "nothing", "-m", "like-it")
    assert (done.code, done.out) == (5, "")
    assert done.err == "error: nothing in the catalogue fits\nhint: say less with `-k` and `-m`\n"
    assert here("list", "--catalogue", "-k", "gemma and").code == 4


@pytest.mark.parametrize("name", NAMES)
def test_init_takes_every_entry_with_its_comments(
    name: str, project: Project, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project.folder)
    assert run(["init", "--from", name]) == 0
    assert project.manifest.read_bytes() == (catalogue_folder() / f"{name}.yaml").read_bytes()
    assert (project.folder / ".gitignore").read_text() == "/models/\n"
    # The manifest is right; there is no lock yet.
    assert run(["status"]) == 1
    assert "there is no `gemmalock.lock`" in capfd.readouterr().err


def test_init_says_where_the_licence_of_a_gated_model_is_accepted(here: Here, project: Project) -> None:
    page = "https://huggingface.co/litert-community/gemma-3-270m-it"
    assert here("init", "--from", "gemma-3-270m-it").out.splitlines() == [
        "wrote `gemmalock.yaml`",
        "added `/models/` to `.gitignore`",
        f"gated: before `gemmalock lock`, accept the licence at {page} and set `HF_TOKEN`",
    ]
    project.manifest.unlink()
    assert here("init", "--from", "gemma-3-270m-it", "--json").json()["facts"] == {
        "done": ["wrote `gemmalock.yaml`"],
        "licence_pages": [page],
    }


def test_init_from_an_unknown_name_writes_nothing(here: Here, project: Project) -> None:
    done = here("init", "--from", "gemma-270m")
    assert (done.code, done.out) == (4, "")
    assert done.err.startswith("error: the catalogue has no `gemma-270m`\nhint: did you mean `gemma-3-270m-it`")
    assert list(project.folder.iterdir()) == []


def test_init_from_the_catalogue_overwrites_no_manifest(shop: Shop) -> None:
    before = shop.project.manifest.read_bytes()
    plain, taken = shop.here("init"), shop.here("init", "--from", "whisper-tiny")
    assert (taken.code, taken.out, taken.err) == (plain.code, plain.out, plain.err)
    assert "there is a `gemmalock.yaml` already" in taken.err
    assert shop.project.manifest.read_bytes() == before
    assert not (shop.project.folder / ".gitignore").exists()


def test_a_list_of_the_lock_loads_nothing_of_the_catalogue(shop: Shop) -> None:
    shop.here("lock")
    script = (
        "import sys\n"
        "from gemmalock.cli import main\n"
        "try:\n    main(['list'])\n"
        "except SystemExit as end:\n    print(end.code, 'gemmalock.app.catalogue' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=shop.project.folder, env=environment(), capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "0 False", done.stderr


def test_a_catalogue_that_cannot_be_read_is_told(here: Here, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("gemmalock.app.catalogue.catalogue_folder", lambda: tmp_path / "gone")
    for words in (["list", "--catalogue"], ["init", "--from", "whisper-tiny"]):
        done = here(*words)
        assert done.code == 1
        assert "read the catalogue in" in done.err
