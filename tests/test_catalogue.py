"""The catalogue: every ready manifest is valid, says what it is, and has the files that the lists of models have.

FACTS are those lists, as rows: nothing of them is forgotten, and nothing is in the catalogue besides.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import pytest

from gemmalock.app.catalogue import GATED, chosen_entries, entry_of
from gemmalock.codec.lock_json import read_lock
from gemmalock.codec.manifest import read_manifest
from gemmalock.errors import NothingCollected, UsageError
from gemmalock.lockfile import source_url
from gemmalock.paths import is_glob
from gemmalock.resources import catalogue_folder
from gemmalock.spec import DEFAULT_ROOT, MODEL_NAME, Manifest, ModelSpec
from tests.guard import CHECKOUT
from tests.running import Gemmalock, Project
from tests.servers.fileserver import FileServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
KINDS = {"llm", "vision", "embedding", "asr", "tts"}
MATCHA_PIN = "ee32148115e2dd25913f70b1d71b587c73e0866e"

#: Repository → the files in it that some device loads. `@` and a commit behind it: they are had from there.
FACTS: dict[str, str] = {
    "litert-community/gemma-4-E2B-it-litert-lm": (
        "gemma-4-E2B-it.litertlm gemma-4-E2B-it-web.litertlm gemma-4-E2B-it-web.task "
        "gemma-4-E2B-it_intel_LNL.litertlm gemma-4-E2B-it_intel_PTL.litertlm"
    ),
    "litert-community/gemma-4-E4B-it-litert-lm": (
        "gemma-4-E4B-it.litertlm gemma-4-E4B-it-web.litertlm gemma-4-E4B-it-web.task"
    ),
    "google/gemma-3n-E2B-it-litert-preview": "gemma-3n-E2B-it-int4.task",
    "google/gemma-3n-E4B-it-litert-preview": "gemma-3n-E4B-it-int4.task",
    "litert-community/Gemma3-1B-IT": (
        "gemma3-1b-it-int4.task gemma3-1b-it-int4-web.task Gemma3-1B-IT_multi-prefill-seq_q4_ekv4096.litertlm"
    ),
    "litert-community/gemma-3-270m-it": (
        "gemma3-270m-it-q8.task gemma3-270m-it-q8-web.task gemma3-270m-it-q8.litertlm"
    ),
    "google/gemma-3n-E2B-it-litert-lm": "gemma-3n-E2B-it-int4.litertlm gemma-3n-E2B-it-int4-Web.litertlm",
    "google/gemma-3n-E4B-it-litert-lm": "gemma-3n-E4B-it-int4.litertlm gemma-3n-E4B-it-int4-Web.litertlm",
    "litert-community/Qwen3-0.6B": "Qwen3-0.6B.litertlm",
    "litert-community/DeepSeek-R1-Distill-Qwen-1.5B": "deepseek_q8_ekv1280.task",
    "litert-community/Qwen2.5-1.5B-Instruct": (
        "Qwen2.5-1.5B-Instruct_multi-prefill-seq_q8_ekv1280.task "
        "Qwen2.5-1.5B-Instruct_multi-prefill-seq_q8_ekv4096.litertlm"
    ),
    "litert-community/Qwen2.5-0.5B-Instruct": "Qwen2.5-0.5B-Instruct_multi-prefill-seq_q8_ekv1280.task",
    # The list has this repository without files.
    "onnx-community/Qwen2.5-0.5B-Instruct": "*.json onnx/model_q4f16.onnx",
    "litert-community/SmolLM-135M-Instruct": "SmolLM-135M-Instruct_multi-prefill-seq_q8_ekv1280.task",
    "litert-community/FastVLM-0.5B": "FastVLM-0.5B.litertlm",
    "litert-community/SmolLM3-3B": "SmolLM3-3B_q4_block32_ekv4096.litertlm",
    "litert-community/Qwen2-VL-2B": "Qwen2-VL-2B.litertlm",
    "litert-community/Phi-4-mini-reasoning": "model.litertlm",
    "litert-community/SmolVLM2-500M": "SmolVLM2-500M.litertlm",
    "litert-community/LLaVA-OneVision-0.5B": "LLaVA-OneVision-0.5B.litertlm",
    "litert-community/Phi-4-mini-instruct": (
        "Phi-4-mini-instruct_multi-prefill-seq_q8_ekv4096.task "
        "Phi-4-mini-instruct_multi-prefill-seq_q8_ekv4096.litertlm"
    ),
    "sasha-denisov/function-gemma-270M-it": "functiongemma-270M-it.litertlm functiongemma-270M-it.task",
    "sasha-denisov/functiongemma-flutter-gemma-demo": "functiongemma-flutter_q8_ekv1024.task",
    "barakplasma/translategemma-4b-it-android-task-quantized": (
        "artifacts/int4-generic/translategemma-4b-it-int4-generic.litertlm "
        "artifacts/dynamic_int8-generic/translategemma-4b-it-dynamic_int8-generic.litertlm"
    ),
    "litert-community/embeddinggemma-300m": (
        "embeddinggemma-300M_seq256_mixed-precision.tflite sentencepiece.model "
        "embeddinggemma-300M_seq512_mixed-precision.tflite sentencepiece.model "
        "embeddinggemma-300M_seq1024_mixed-precision.tflite sentencepiece.model "
        "embeddinggemma-300M_seq2048_mixed-precision.tflite sentencepiece.model"
    ),
    "litert-community/Gecko-110m-en": (
        "Gecko_64_quant.tflite sentencepiece.model Gecko_256_quant.tflite sentencepiece.model "
        "Gecko_512_quant.tflite sentencepiece.model"
    ),
    "litert-community/moonshine-tiny": "moonshine_tiny_5s_f32.tflite moonshine_tiny_5s_i8.tflite",
    "UsefulSensors/moonshine": "ctranslate2/tiny/tokenizer.json ctranslate2/tiny/tokenizer.json",
    "litert-community/whisper-tiny": "whisper_tiny_30s_f32.tflite whisper_tiny_30s_i8.tflite",
    "openai/whisper-tiny": "tokenizer.json tokenizer.json",
    "litert-community/whisper-base": "whisper_base_30s_i8.tflite",
    "openai/whisper-base": "tokenizer.json",
    "litert-community/parakeet-ctc-0.6b": "parakeet_ctc_0.6b_5s_f32.tflite",
    "nvidia/parakeet-ctc-0.6b": "tokenizer.json",
    "litert-community/Matcha-TTS": (
        "matcha_textenc_fp16.tflite matcha_decoder_fp16.tflite matcha_vocoder_fp16.tflite dp_g2p_matcha_fp16.tflite "
        "g2p_dict.txt.gz emb.bin config.json g2p_meta.json"
    ),
    "litert-community/Qwen3-TTS-12Hz-0.6B-Base": (
        "talker_int4.tflite mtp_fp32.tflite codec_decoder_fp32.tflite tokenizer.json tables/text_embedding_fp16.npy "
        "tables/text_projection_fp32.npz tables/codec_embedding_fp32.npy tables/mtp_embeddings_fp16.npy "
        "voices/demo_speaker.npy"
    ),
    "sasha-denisov/inflect-nano-v2-litert": "inflect_text_encoder_fp16.tflite inflect_decoder_fp16.tflite",
    f"litert-community/Matcha-TTS@{MATCHA_PIN}": "config.json g2p_dict.txt.gz dp_g2p_matcha_fp16.tflite g2p_meta.json",
}
#: The repositories whose licence has to be accepted.
GATED_REPOSITORIES = {
    "google/gemma-3n-E2B-it-litert-preview",
    "google/gemma-3n-E4B-it-litert-preview",
    "google/gemma-3n-E2B-it-litert-lm",
    "google/gemma-3n-E4B-it-litert-lm",
    "litert-community/Gemma3-1B-IT",
    "litert-community/gemma-3-270m-it",
    "litert-community/embeddinggemma-300m",
}

PLACES = sorted(catalogue_folder().glob("*.yaml"))


def read(path: Path) -> Manifest:
    """What a file of the catalogue means; raises with every problem of it."""
    return read_manifest(path.read_bytes(), path.name)


def repository_of(model: ModelSpec) -> tuple[str, str]:
    """The repository that a model's source names, and what of it is followed."""
    assert model.source is not None
    scheme, _, rest = model.source.partition("://")
    assert scheme == "hf"
    repository, _, revision = rest.partition("@")
    return repository, revision


MODELS = [model for path in PLACES for model in read(path).models]


# --- each file ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PLACES, ids=lambda path: path.stem)
def test_an_entry_is_a_valid_manifest_whose_models_are_in_the_folder_of_its_name(path: Path) -> None:
    manifest = read(path)
    assert manifest.root == DEFAULT_ROOT
    assert manifest.workspace is None
    assert manifest.models[0].name == path.stem
    assert {model.path for model in manifest.models} == {path.stem}
    assert MODEL_NAME.fullmatch(path.stem)
    assert path.stem == path.stem.lower()


@pytest.mark.parametrize("path", PLACES, ids=lambda path: path.stem)
def test_an_entry_begins_with_its_title_and_says_whether_it_is_gated_and_where(path: Path) -> None:
    entry = entry_of(path.stem)
    head = entry.text.partition("version: 1\n")[0].splitlines()
    assert re.fullmatch(r"# [A-Z][^:]+: [a-z].+", head[0])
    assert all(line.startswith("#") and len(line) <= 120 for line in head)
    assert any(line.startswith("# Gated: " if entry.licence_pages else "# Not gated") for line in head)
    assert [page for page in entry.licence_pages if f"accept the licence at {page} " not in entry.text] == []


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_a_model_states_its_kind_and_no_more_than_is_known(model: ModelSpec) -> None:
    repository, revision = repository_of(model)
    assert len(KINDS.intersection(model.tags)) == 1
    assert (GATED in model.tags) == (repository in GATED_REPOSITORIES)
    # Sizes, digests and licences are what the lock finds.
    assert (model.license, model.files, model.exclude) == (None, (), ())
    assert revision == ("main" if model.name != "inflect-nano-v2-g2p" else MATCHA_PIN)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_every_file_of_a_model_has_a_url_at_a_commit(model: ModelSpec) -> None:
    repository, _ = repository_of(model)
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", repository)
    for name in model.names:
        # Every name in the catalogue can stand in a URL as it is.
        url = f"https://huggingface.co/{repository}/resolve/{COMMIT}/{name}"
        assert source_url(str(model.source), COMMIT, name) == url


# --- all of them -------------------------------------------------------------------------------------------


def test_the_catalogue_has_every_file_of_the_lists_and_no_other() -> None:
    found: Counter[tuple[str, str]] = Counter()
    for model in MODELS:
        repository, revision = repository_of(model)
        place = repository if revision == "main" else f"{repository}@{revision}"
        found.update((place, name) for name in model.patterns)
    assert found == Counter((place, name) for place, names in FACTS.items() for name in names.split())


def test_a_model_without_variants_is_one_entry_and_each_variant_is_another() -> None:
    """No manifest fetches the same weights for two devices."""
    weights = (".litertlm", ".task")
    for path in PLACES:
        names = [name for model in read(path).models for name in model.patterns if name.endswith(weights)]
        assert len(names) <= 1, path.stem


def test_files_of_all_entries_fit_into_one_manifest_shared_basenames_too() -> None:
    names = Counter(model.name.casefold() for model in MODELS)
    places = Counter(model.place(name).casefold() for model in MODELS for name in model.patterns)
    assert [name for name, count in names.items() if count > 1] == []
    assert [place for place, count in places.items() if count > 1] == []
    folders = {"/".join(place.split("/")[:depth]) for place in places for depth in range(1, place.count("/") + 1)}
    assert folders.intersection(places) == set()
    basenames = Counter(place.rpartition("/")[2] for place in places)
    assert basenames["sentencepiece.model"] == 7
    assert basenames["tokenizer.json"] == 7


def papers_of(repository: str, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """What a hub has of a repository whose files these are: by path, what the API says and the files."""
    api = f"/api/models/{repository}"
    info = {"sha": COMMIT, "gated": repository in GATED_REPOSITORIES, "cardData": {"license": "its-own"}}
    pinned = {"sha": MATCHA_PIN, "gated": False}
    yield f"{api}/revision/main", json.dumps(info).encode()
    yield f"{api}/revision/{MATCHA_PIN}", json.dumps(pinned).encode()
    bodies = {name: f"{repository} {name}".encode() for name in names}
    tree = [
        {"type": "file", "path": name, "size": len(body), "oid": "", "lfs": {"oid": sha256(body), "size": len(body)}}
        for name, body in bodies.items()
    ]
    for commit in (COMMIT, MATCHA_PIN):
        yield f"{api}/tree/{commit}", json.dumps(tree).encode()
        yield from ((f"/{repository}/resolve/{commit}/{name}", body) for name, body in bodies.items())


def sha256(body: bytes) -> str:
    """A digest, in hexadecimal."""
    return hashlib.sha256(body).hexdigest()


def test_all_entries_in_one_manifest_lock_and_sync(
    project: Project, gemmalock: Gemmalock, monkeypatch: pytest.MonkeyPatch
) -> None:
    has: dict[str, set[str]] = {}
    for place, names in FACTS.items():
        has.setdefault(place.partition("@")[0], set()).update(names.replace("*.json", "config.json").split())
    files = dict(chain.from_iterable(papers_of(repository, names) for repository, names in has.items()))
    texts = (path.read_text("utf-8").partition("\nmodels:\n")[2] for path in PLACES)
    project.write_manifest("version: 1\nmodels:\n" + "".join(texts))
    with FileServer(files) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.origin)
        for words in (["lock"], ["sync", "--locked"], ["lock", "--check"]):
            done = gemmalock(*words)
            assert done.code == 0, (done.out, done.err)
        assert server.failures == []
    (locked,) = read_lock(project.lock.read_bytes(), "gemmalock.lock").manifests
    assert {model.name: len(model.files) for model in locked.models} == {
        model.name: len(model.patterns) for model in MODELS
    }
    assert {model.revision for model in locked.models} == {COMMIT, MATCHA_PIN}
    assert all(file.sha256 is not None for model in locked.models for file in model.files)
    whisper = project.folder / "models" / "whisper-tiny-int8" / "tokenizer.json"
    assert whisper.read_bytes() == b"openai/whisper-tiny tokenizer.json"


def test_only_the_repository_that_is_listed_without_files_has_a_glob() -> None:
    globs = {model.name for model in MODELS if any(map(is_glob, model.patterns))}
    assert globs == {"qwen-2.5-0.5b-instruct-onnx"}


def test_the_folder_has_nothing_but_manifests_and_a_page_about_them() -> None:
    names = {path.name for path in catalogue_folder().iterdir()}
    assert names == {*(path.name for path in PLACES), "README.md"}


def test_the_page_explains_every_tag_and_names_entries_that_there_are() -> None:
    page = (catalogue_folder() / "README.md").read_text("utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`(.+?)`", "".join(rows))) == set(chain.from_iterable(model.tags for model in MODELS))
    entries = {path.stem for path in PLACES}
    for text in (page, (CHECKOUT / "README.md").read_text("utf-8"), (CHECKOUT / "docs/settings.md").read_text("utf-8")):
        assert set(re.findall(r'(?:init --from |from = ")([a-z0-9][\w.-]+)', text)) - entries == set()


# --- choosing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keyword", "tags", "names"),
    [
        ("gecko", None, ["gecko-seq256", "gecko-seq512", "gecko-seq64"]),
        ("NANO and e4b and not mediapipe", None, ["gemma-3n-e4b-it", "gemma-3n-e4b-it-web"]),
        ("ctranslate2", None, ["moonshine-tiny", "moonshine-tiny-int8"]),
        (None, "npu", ["gemma-4-e2b-it-intel-lnl", "gemma-4-e2b-it-intel-ptl"]),
        ("270m", "gated and web", ["gemma-3-270m-it-web"]),
        ("lunar", "llm", ["gemma-4-e2b-it-intel-lnl"]),
    ],
)
def test_words_choose_by_name_title_model_and_file_and_tags_as_a_whole(
    keyword: str | None, tags: str | None, names: list[str]
) -> None:
    assert [entry.name for entry in chosen_entries(keyword, tags)] == names


def test_without_a_choice_it_is_all_of_them() -> None:
    assert [entry.name for entry in chosen_entries(None, None)] == sorted(path.stem for path in PLACES)


def test_a_part_of_a_tag_chooses_nothing() -> None:
    with pytest.raises(NothingCollected) as caught:
        chosen_entries(None, "gate")
    assert caught.value.hint == "say less with `-m`"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("gemma-3-270-it", "did you mean `gemma-3-270m-it` or "),
        ("Whisper-Tiny", "did you mean `whisper-tiny` or "),
        ("../cases/valid/minimal", ""),
        ("README", ""),
        ("gemma-3-270m-it.yaml", "did you mean `gemma-3-270m-it` or "),
        ("", ""),
    ],
)
def test_a_name_that_is_none_is_told_with_those_that_are_near(name: str, near: str) -> None:
    with pytest.raises(UsageError) as caught:
        entry_of(name)
    assert caught.value.message == f"the catalogue has no `{name}`"
    assert caught.value.hint.startswith(near or "run `gemmalock list --catalogue`")
    assert caught.value.hint.endswith("run `gemmalock list --catalogue` to see all")
