"""Manifests in full: values, all problems at once, and what must never be repeated or fetched."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemmalock.codec.manifest import read_manifest
from gemmalock.codec.schema import flaws, validator
from gemmalock.errors import ManifestInvalid, Problem
from gemmalock.spec import SCHEMES, FileSpec, Manifest, ModelSpec

DIGEST = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"


def _problems(text: str, path: str = "m.yaml") -> tuple[Problem, ...]:
    with pytest.raises(ManifestInvalid) as caught:
        read_manifest(text.encode(), path)
    return caught.value.problems


def _of_url(url: str) -> str:
    return f"version: 1\nmodels:\n  m:\n    files:\n      - url: {url}\n"


def test_a_manifest_becomes_values() -> None:
    text = f"""\
version: 1
models:
  gemma:
    source: hf://ggml-org/gemma-3-270m-GGUF@main
    files: ["*.gguf", README.md, "*.gguf"]
    exclude: ["*.imatrix"]
    license: gemma
    tags: [mobile, llm, llm]
  embedder:
    path: minilm
    files:
      - url: https://models.example.org/my%20model.bin?download=true
        sha256: {DIGEST.upper()}
        size: 12
        mirrors: [https://mirror.example.net/a, https://mirror.example.net/b]
"""
    assert read_manifest(text.encode(), "m.yaml") == Manifest(
        root="models",
        models=(
            ModelSpec(
                name="gemma",
                path="gemma",
                source="hf://ggml-org/gemma-3-270m-GGUF@main",
                patterns=("*.gguf", "README.md"),
                exclude=("*.imatrix",),
                license="gemma",
                tags=("llm", "mobile"),
            ),
            ModelSpec(
                name="embedder",
                path="minilm",
                files=(
                    FileSpec(
                        url="https://models.example.org/my%20model.bin?download=true",
                        path="my model.bin",
                        sha256=DIGEST,
                        size=12,
                        mirrors=("https://mirror.example.net/a", "https://mirror.example.net/b"),
                    ),
                ),
            ),
        ),
    )


def test_all_problems_are_reported_at_once_in_the_order_of_their_places() -> None:
    problems = _problems("root: ..\nversion: 1\nmodels: {a: {fils: 1}, b: {files: [], source: 3}}\nx: 1\nx: 2\n")
    assert [(problem.line, problem.column) for problem in problems] == [
        (1, 7), (3, 10), (3, 14), (3, 35), (3, 47), (4, 1), (5, 1),
    ]  # fmt: skip


def test_an_unknown_version_is_the_only_problem() -> None:
    (problem,) = _problems("version: 2\nx: !y 1\nmodels: []\nx: 1\n")
    assert problem.message == "manifest version 2 needs a newer gemmalock"


def test_a_broken_value_is_spoken_of_once() -> None:
    (problem,) = _problems("version: 1\nmodels: !x []\n")
    assert "tags" in problem.message
    (problem,) = _problems("version: 1\nmodels:\n  a: &a {source: hf://o/n, files: [x]}\n  b: {<<: *a}\n")
    assert "merge" in problem.message


SECRET = "hunter2-canary"


@pytest.mark.parametrize(
    "url",
    [
        f"https://user:{SECRET}@models.example.org/m",
        f"https://{SECRET}@models.example.org/m",
        f"HTTPS://{SECRET}@models.example.org/m",
        f"https://user:{SECRET}/x@models.example.org/m",
        f"s3://key:{SECRET}@bucket/m",
        f"https://models.example.org/m?token={SECRET}",
        f"https://models.example.org/m?a=b&X-Amz-Signature={SECRET}",
        f"https://models.example.org/m?X-Amz-Credential={SECRET}",
        f"https://models.example.org/m?X%2DAmz%2DSignature={SECRET}",
        f"https://models.example.org/m?Expires=1&Signature={SECRET}",
        f"https://models.example.org/m?sv=1;SIG={SECRET}",
        f"https://models.example.org/m?access_token={SECRET}#x",
        f"ftp://user:{SECRET}@models.example.org/m",
        f"'https://user:{SECRET}@models.example.org/a b'",
        f"https://user:{SECRET}@models.example.org:99999/m",
    ],
)
@pytest.mark.parametrize("key", ["url", "mirrors", "source"])
def test_a_secret_in_a_url_is_a_problem_and_never_repeated(url: str, key: str) -> None:
    text = {
        "url": _of_url(url),
        "mirrors": _of_url(f"https://models.example.org/m\n        mirrors: [{url}]"),
        "source": f"version: 1\nmodels:\n  m: {{files: [a], extra: 1, source: {url}}}\n",
    }[key]
    problems = _problems(text)
    assert problems
    assert SECRET not in "".join(f"{problem}{problem.hint}{problem.excerpt}" for problem in problems)


def test_a_secret_on_the_line_of_another_problem_is_not_repeated_either() -> None:
    problems = _problems(
        f"version: 1\nmodels: {{m: {{files: [{{url: 'https://u:{SECRET}@h.example/m', fils: 1}}]}}}}\n"
    )
    assert any("fils" in problem.message and problem.excerpt for problem in problems)
    assert SECRET not in "".join(problem.excerpt for problem in problems)


def test_the_cure_of_a_credential_is_named() -> None:
    (problem,) = _problems(_of_url("https://u:p@models.example.org/m"))
    assert "environment" in problem.hint
    assert "settings" in problem.hint


def test_plain_http_is_a_matter_of_settings() -> None:
    text = _of_url("http://models.example.org/m.gguf").encode()
    with pytest.raises(ManifestInvalid):
        read_manifest(text, "m.yaml")
    assert read_manifest(text, "m.yaml", allow_http=True).models[0].files[0].path == "m.gguf"
    source = b"version: 1\nmodels: {m: {source: 'http://models.example.org', files: [a]}}\n"
    with pytest.raises(ManifestInvalid):
        read_manifest(source, "m.yaml")
    assert read_manifest(source, "m.yaml", allow_http=True).models[0].source == "http://models.example.org"


def test_a_plugin_brings_its_scheme() -> None:
    text = _of_url("swh://origin/m.gguf").encode()
    with pytest.raises(ManifestInvalid, match="a problem"):
        read_manifest(text, "m.yaml")
    assert read_manifest(text, "m.yaml", schemes=SCHEMES | {"swh"}).models[0].files[0].url == "swh://origin/m.gguf"


def test_a_scheme_on_the_disk_is_written_as_file_urls_are() -> None:
    text = _of_url("zip+file:///srv/my models.zip/a 100%25.gguf").encode()
    (file,) = read_manifest(text, "m.yaml", schemes=SCHEMES | {"zip+file"}).models[0].files
    assert file.path == "a 100%.gguf"
    with pytest.raises(ManifestInvalid) as invalid:
        read_manifest(_of_url("zip+file://").encode(), "m.yaml", schemes=SCHEMES | {"zip+file"})
    assert invalid.value.problems[0].hint == "write it as `zip+file://folder/name`"


def test_two_files_on_one_path_name_both_places() -> None:
    (problem,) = _problems(
        "version: 1\nmodels:\n  a:\n    path: x\n    files:\n      - url: https://h.example/m.bin\n"
        "  b:\n    path: X\n    source: hf://o/n\n    files: [M.bin]\n"
    )
    assert (problem.line, problem.column) == (10, 13)
    assert "in line 6" in problem.message


def test_three_files_on_one_path_are_two_problems() -> None:
    problems = _problems(
        "version: 1\nmodels: {m: {source: hf://o/n, files: [a, b, a/c]}, n: {path: m, source: hf://o/n, files: [A]}}\n"
    )
    assert len(problems) == 2


@pytest.mark.parametrize("length", [50_000, 500_000])
def test_long_names_are_refused_in_few_words(length: int) -> None:
    for text in (
        f"version: 1\nmodels:\n  ? {'a' * length}!\n  : {{}}\n",
        _of_url("https://models.example.org/" + "a" * length),
        _of_url("https://models.example.org/m\n        sha256: " + "a" * length),
        f"version: 1\nroot: {'a/' * (length // 2)}a\n",
        f"version: 1\nmodels: {{m: {{source: hf://o/n, files: ['{'*a' * (length // 2)}']}}}}\n",
        f"version: 1\n? {'k' * length}\n: 1\n",
    ):
        problems = _problems(text)
        assert all(len(f"{problem}{problem.hint}{problem.excerpt}") < 1000 for problem in problems)


def test_nothing_is_ever_retrieved() -> None:
    remote = {"$ref": "https://schemas.invalid/manifest.json"}
    with pytest.raises(Exception, match=r"(?i)unresolvable"):
        list(validator(remote).iter_errors({}))


def test_a_size_in_floating_point_is_no_integer() -> None:
    assert [flaw.message for flaw in flaws("manifest.v1.schema.json", {"version": 1.0})] == [
        "`version` must be a whole number, and is the number 1.0"
    ]


_PARTS = st.lists(
    st.sampled_from(
        [
            "version: 1\n", "version: 3\n", "root: models\n", "root: 1\n", "models:\n", "  m:\n", "  n: {}\n",
            "    files:\n", "    files: [a, '*']\n", "    source: hf://o/n\n", "    source: [x]\n", "    path: ../x\n",
            "    tags: [a, 1]\n", "      - a\n", "      - url: https://h.example/a\n", "        sha256: 12\n",
            "        size: -1\n", "        path: b\n", "      - {url: 3, path: [], mirrors: {}}\n", "workspace: ~\n",
            "? [a]\n",
        ]
    ),
    max_size=12,
).map("".join)  # fmt: skip


@given(_PARTS)
def test_whatever_is_written_is_a_manifest_or_a_list_of_located_problems(text: str) -> None:
    try:
        manifest = read_manifest(text.encode(), "m.yaml")
    except ManifestInvalid as error:
        assert error.problems
        assert all(problem.line >= 1 and problem.column >= 1 for problem in error.problems)
        assert list(error.problems) == sorted(error.problems, key=lambda problem: (problem.line, problem.column))
    else:
        assert manifest.declared.startswith("sha256:")


def test_reading_a_manifest_imports_no_network() -> None:
    script = (
        "import sys; from gemmalock.codec.manifest import read_manifest; read_manifest(b'version: 1', 'm');"
        "sys.exit(any(name in sys.modules for name in ('urllib3', 'urllib.request', 'requests', 'http.client')))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
