"""What the hub says, read: its URLs, its API's answers, and what makes no sense."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from gemmalock.errors import SourceError
from gemmalock.ports import Probe
from gemmalock.sources.hub_papers import (
    HubFile,
    Info,
    Repository,
    file_of,
    probe_of,
    read_commits,
    read_info,
    read_refs,
    read_tree,
    repository_of,
)

COMMIT, BLOB, DIGEST = "c" * 40, "b" * 40, "d" * 64
HUB = "https://huggingface.co"
GEMMA = Repository("models", "google/gemma-3")
SQUAD = Repository("datasets", "rajpurkar/squad")


@pytest.mark.parametrize(
    ("source", "repository", "ref"),
    [
        ("hf://google/gemma-3", GEMMA, "main"),
        ("hf://google/gemma-3@v1.0", GEMMA, "v1.0"),
        ("hf://google/gemma-3@refs/pr/7", GEMMA, "refs/pr/7"),
        (f"hf://google/gemma-3@{COMMIT}", GEMMA, COMMIT),
        ("hf://gpt2@main", Repository("models", "gpt2"), "main"),
        ("hf://datasets/rajpurkar/squad@main", SQUAD, "main"),
        ("hf://datasets/squad", Repository("datasets", "squad"), "main"),
        ("hf://spaces/owner/name", Repository("spaces", "owner/name"), "main"),
    ],
)
def test_a_source_names_a_repository_and_a_ref(source: str, repository: Repository, ref: str) -> None:
    assert repository_of(source) == (repository, ref)


@pytest.mark.parametrize("source", ["hf://", "hf://a/b/c", "hf://a/b@", "hf:///b", "hf://a/@main", "hf://a/b@c@d"])
def test_what_names_no_repository_is_refused(source: str) -> None:
    with pytest.raises(SourceError, match="names no repository"):
        repository_of(source)


@pytest.mark.parametrize(
    ("repository", "page", "api", "name"),
    [
        (GEMMA, f"{HUB}/google/gemma-3", f"{HUB}/api/models/google/gemma-3", "hf://google/gemma-3"),
        (
            SQUAD,
            f"{HUB}/datasets/rajpurkar/squad",
            f"{HUB}/api/datasets/rajpurkar/squad",
            "hf://datasets/rajpurkar/squad",
        ),
    ],
)
def test_a_repository_has_a_page_and_an_api(repository: Repository, page: str, api: str, name: str) -> None:
    assert (repository.page, repository.api, str(repository)) == (page, api, name)
    assert repository.info_url("refs/pr/7") == f"{api}/revision/refs%2Fpr%2F7"
    assert repository.file_url(COMMIT, "a b/ü.gguf") == f"{page}/resolve/{COMMIT}/a%20b/%C3%BC.gguf"


@pytest.mark.parametrize(
    ("place", "file"),
    [
        ("google/gemma-3/resolve/main/a.gguf", HubFile(GEMMA, "main", "a.gguf")),
        ("google/gemma-3/resolve/refs%2Fpr%2F7/a.gguf", HubFile(GEMMA, "refs/pr/7", "a.gguf")),
        ("google/gemma-3/resolve/main/deep/a%20b.gguf?download=true", HubFile(GEMMA, "main", "deep/a b.gguf")),
        ("google/gemma-3/blob/main/a.gguf", HubFile(GEMMA, "main", "a.gguf", is_page=True)),
        ("gpt2/resolve/main/a.gguf", HubFile(Repository("models", "gpt2"), "main", "a.gguf")),
        ("datasets/rajpurkar/squad/resolve/main/a.json", HubFile(SQUAD, "main", "a.json")),
        ("google/gemma-3/resolve/main/resolve/main/a", HubFile(GEMMA, "main", "resolve/main/a")),
        ("google/gemma-3", None),
        ("api/models/google/gemma-3", None),
        ("google/gemma-3/tree/main", None),
    ],
)
def test_a_url_of_the_hub_is_of_a_file_or_of_none(place: str, file: HubFile | None) -> None:
    assert file_of(f"{HUB}/{place}") == file


@pytest.mark.parametrize("url", ["https://huggingface.co.evil.example/a/b/resolve/main/c", "http://huggingface.co/a/b"])
def test_a_url_of_another_host_is_of_no_file(url: str) -> None:
    assert file_of(url) is None


@pytest.mark.parametrize(
    ("told", "info"),
    [
        ({}, Info(COMMIT, False, None)),
        ({"gated": False, "cardData": {"license": "mit"}}, Info(COMMIT, False, "mit")),
        ({"gated": "auto", "cardData": {"license": "gemma"}}, Info(COMMIT, True, "gemma")),
        ({"gated": "manual", "cardData": None, "tags": ["gguf", "license:mit"]}, Info(COMMIT, True, "mit")),
        ({"cardData": {"license": "other", "license_name": "qwen-research"}}, Info(COMMIT, False, "qwen-research")),
        ({"cardData": {"license": "other"}}, Info(COMMIT, False, "other")),
        ({"cardData": {"license": ["mit", "apache-2.0"]}}, Info(COMMIT, False, "mit, apache-2.0")),
        ({"cardData": {"license": 7}, "tags": "license:x"}, Info(COMMIT, False, None)),
        ({"cardData": {"license": "a\nb"}}, Info(COMMIT, False, "a b")),
        ({"cardData": {"license": " \t"}}, Info(COMMIT, False, None)),
        # What a lock could not hold, or a terminal would obey.
        ({"cardData": {"license": "x\x1b[31my"}}, Info(COMMIT, False, None)),
        ({"cardData": {"license": "x\0y"}}, Info(COMMIT, False, None)),
        ({"cardData": {"license": "x\ud800y"}}, Info(COMMIT, False, None)),
        ({"cardData": {"license": "x\u202ey"}}, Info(COMMIT, False, None)),
        ({"cardData": {"license": ["mit", "\ud800"]}}, Info(COMMIT, False, None)),
        ({"tags": ["license:\x1b"]}, Info(COMMIT, False, None)),
        ({"cardData": {"license": "ü" * 300}}, Info(COMMIT, False, "ü" * 200)),
    ],
)
def test_an_info_has_the_commit_the_gate_and_the_licence(told: dict[str, object], info: Info) -> None:
    assert read_info(json.dumps({"sha": COMMIT, **told}).encode(), HUB) == info


def test_a_tree_tells_of_files_large_and_small() -> None:
    large = {"type": "file", "path": "a.gguf", "size": 9, "oid": BLOB, "lfs": {"oid": DIGEST, "size": 9}}
    small = {"type": "file", "path": "deep/b.json", "size": 2, "oid": BLOB}
    folder = {"type": "directory", "path": "deep", "size": 0, "oid": BLOB}
    assert dict(read_tree(json.dumps([large, folder, small]).encode(), HUB)) == {
        "a.gguf": Probe(9, f'"{DIGEST}"', DIGEST),
        "deep/b.json": Probe(2, f'"{BLOB}"', None, BLOB),
    }


def test_commits_have_moments_and_refs_have_names() -> None:
    commits = [{"id": COMMIT, "date": "2026-01-02T03:04:05.000Z", "title": "x"}]
    assert list(read_commits(json.dumps(commits).encode(), HUB)) == [
        (COMMIT, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    ]
    refs = {"branches": [{"name": "main"}], "tags": [{"name": "v1"}, {}], "converts": []}
    assert read_refs(json.dumps(refs).encode(), HUB) == ("main", "v1")


@pytest.mark.parametrize("body", ["", "null", "[]", "7", "{}", '{"sha": null}', '{"sha": "short"}', "[" * 100_000])
def test_an_info_that_makes_no_sense_is_an_error(body: str) -> None:
    with pytest.raises(SourceError, match="answered without"):
        read_info(body.encode(), HUB)


@pytest.mark.parametrize(
    "entry",
    [
        7,
        {"type": "file"},
        {"type": "file", "path": 1, "size": 1, "oid": BLOB},
        {"type": "file", "path": "", "size": 1, "oid": BLOB},
        {"type": "file", "path": "\ud800.bin", "size": 1, "oid": BLOB},
        {"type": "file", "path": "a", "size": -1, "oid": BLOB},
        {"type": "file", "path": "a", "size": True, "oid": BLOB},
        {"type": "file", "path": "a", "size": 1, "oid": "x"},
        {"type": "file", "path": "a", "size": 1, "oid": BLOB, "lfs": {"oid": "x", "size": 1}},
        {"type": "file", "path": "a", "size": 1, "oid": BLOB, "lfs": {"oid": DIGEST, "size": "1"}},
    ],
)
def test_a_tree_that_makes_no_sense_is_an_error(entry: object) -> None:
    with pytest.raises(SourceError, match="answered without"):
        list(read_tree(json.dumps([entry]).encode(), HUB))


def test_a_name_that_is_long_or_drives_a_terminal_is_cut_and_escaped() -> None:
    entry = {"type": "file", "path": "\x1b" + "n" * 200_000, "size": 1, "oid": "x"}
    with pytest.raises(SourceError, match=r"without the blob of `\\x1bnnn") as caught:
        list(read_tree(json.dumps([entry]).encode(), HUB))
    assert len(caught.value.message) < 300


@pytest.mark.parametrize("date", [None, "yesterday", "2026-01-02", 7, "2026-01-02T03:04:05\ud800Z"])
def test_commits_without_a_moment_are_an_error(date: object) -> None:
    with pytest.raises(SourceError, match="answered without"):
        list(read_commits(json.dumps([{"id": COMMIT, "date": date}]).encode(), HUB))


@pytest.mark.parametrize(
    ("status", "headers", "probe"),
    [
        (302, {"x-linked-etag": f'"{DIGEST}"', "x-linked-size": "9"}, Probe(9, f'"{DIGEST}"', DIGEST)),
        (302, {"x-linked-etag": f'"{DIGEST}"', "content-length": "1000"}, None),
        (200, {"etag": f'"{BLOB}"', "content-length": "9"}, Probe(9, f'"{BLOB}"', None, BLOB)),
        (200, {"etag": f'W/"{BLOB}"', "content-length": "9"}, Probe(9, f'"{BLOB}"', None, BLOB)),
        (307, {"etag": f'"{BLOB}"', "content-length": "9"}, None),
        (200, {"etag": '"x-64"', "content-length": "9"}, None),
        (200, {}, None),
    ],
)
def test_an_answer_for_a_file_tells_of_it_or_not(status: int, headers: dict[str, str], probe: Probe | None) -> None:
    assert probe_of(status, headers) == probe
