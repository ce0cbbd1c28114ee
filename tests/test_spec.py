"""What a manifest means: values that are valid, and the digest of a meaning."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemmalock.spec import FileSpec, Manifest, ModelSpec, base_of, is_local, is_loopback, name_in_url, scheme_of

DIGEST = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
FILE = FileSpec("https://models.example.org/a.bin", "a.bin", DIGEST, 3, ("https://mirror.example.net/a.bin",))
MODEL = ModelSpec("m", "m", "hf://o/r@main", ("*.gguf", "README.md"), (FILE,), ("*.imatrix",), "gemma", ("a", "b"))
MANIFEST = Manifest("models", (MODEL, ModelSpec("n", "n", "hf://o/n", ("a",))))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"path": "../a"}, "`..`"),
        ({"sha256": DIGEST.upper()}, "hexadecimal"),
        ({"sha256": DIGEST[:-1]}, "hexadecimal"),
        ({"size": -1}, "2^63"),
        ({"size": 2**63}, "2^63"),
    ],
)
def test_a_file_that_cannot_be_is_never_made(change: dict[str, str | int], what: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        replace(FILE, **change)  # type: ignore[arg-type]
    assert what in str(caught.value)


def test_a_model_that_cannot_be_is_never_made() -> None:
    with pytest.raises(ValueError, match="not a model's name"):
        ModelSpec("a b", "a")
    with pytest.raises(ValueError, match=r"`\.\.`"):
        ModelSpec("a", "..")
    with pytest.raises(ValueError, match="no source"):
        ModelSpec("a", "a", None, ("*.gguf",))
    with pytest.raises(ValueError, match="no source"):
        ModelSpec("a", "a", quant="Q4_K_M")
    with pytest.raises(ValueError, match="not in upper case"):
        ModelSpec("a", "a", "hf://o/n", quant="q4_k_m")
    with pytest.raises(ValueError, match="`4BIT` is not a quantisation"):
        ModelSpec("a", "a", "hf://o/n", quant="4BIT")
    with pytest.raises(ValueError, match="root"):
        Manifest(".")


def test_a_file_goes_below_its_model_and_a_dot_is_the_root() -> None:
    assert MODEL.place("x/y") == "m/x/y"
    assert replace(MODEL, path=".").place("x/y") == "x/y"
    assert (MODEL.names, MODEL.globs) == (("README.md",), ("*.gguf",))


@pytest.mark.parametrize(
    ("name", "selected"),
    [
        ("README.md", True),
        ("a.bin", True),
        ("deep/a-q8_0.gguf", True),
        ("deep/a-Q4_0.gguf", False),
        ("old/a-Q8_0.gguf", False),
        ("config.json", False),
    ],
)
def test_a_name_a_glob_and_the_quantisation_select_what_is_not_excluded(name: str, selected: bool) -> None:
    model = ModelSpec("m", "m", "hf://o/n", ("README.md", "*.bin"), exclude=("old/*",), quant="Q8_0")
    assert model.selects(name) is selected
    assert not replace(model, quant=None).is_quantised(name)


def test_the_order_of_models_tags_names_and_files_means_nothing() -> None:
    turned = replace(
        MODEL,
        patterns=MODEL.patterns[::-1],
        tags=MODEL.tags[::-1],
    )
    assert Manifest("models", (MANIFEST.models[1], turned)).declared == MANIFEST.declared


@pytest.mark.parametrize(
    "change",
    [
        {"path": "other"},
        {"source": "hf://o/r@v2"},
        {"patterns": ("*.gguf",)},
        {"exclude": ()},
        {"license": None},
        {"tags": ("a",)},
        {"quant": "Q8_0"},
        {"files": ()},
        {"files": (replace(FILE, sha256=None),)},
        {"files": (replace(FILE, size=None),)},
        {"files": (replace(FILE, mirrors=()),)},
        {"files": (replace(FILE, url="https://models.example.org/b.bin"),)},
        {"files": (replace(FILE, path="b.bin"),)},
    ],
)
def test_everything_that_is_declared_is_in_the_digest(change: dict[str, object]) -> None:
    changed = replace(MODEL, **change)  # type: ignore[arg-type]
    assert replace(MANIFEST, models=(changed, MANIFEST.models[1])).declared != MANIFEST.declared
    assert replace(MANIFEST, root="other").declared != MANIFEST.declared


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://h.example/a/model.gguf", "model.gguf"),
        ("https://h.example/my%20model.gguf?download=true#x", "my model.gguf"),
        ("https://h.example/", ""),
        ("https://h.example", ""),
        ("file://weights/a b.gguf", "a b.gguf"),
        ("file://model.gguf", "model.gguf"),
        ("s3://bucket/key/model.gguf", "model.gguf"),
        ("https://[broken/model.gguf", ""),
    ],
)
def test_the_name_in_a_url_is_its_last_segment(url: str, name: str) -> None:
    assert name_in_url(url) == name


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://localhost/x", True),
        ("http://LOCALHOST:80/x", True),
        ("http://localhost./x", True),
        ("http://models.localhost/x", True),
        ("http://127.0.0.1:8000/x", True),
        ("http://127.255.0.9/x", True),
        ("http://[::1]/x", True),
        ("http://localhost.example.org/x", False),
        ("http://127.0.0.1.example.org/x", False),
        ("http://127.0.0.256/x", False),
        ("http://127.0.0.²/x", False),
        ("http://127.0.0." + "9" * 5000, False),
        ("http://user@example.org/x", False),
        ("http://localhost@example.org/x", False),
        ("http://[::2]/x", False),
        ("http://[broken/x", False),
        ("file:///x", False),
    ],
)
def test_only_this_machine_is_loopback(url: str, here: bool) -> None:
    assert is_loopback(url) is here


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("file:///x", True),
        ("FILE://x", True),
        ("zip+file://a.zip/x", True),
        ("zip+https://h/a.zip", False),
        ("file+zip://a", False),
        ("profile://a", False),
        ("https://h/file://x", False),
        ("file", False),
        ("", False),
    ],
)
def test_a_scheme_is_read_without_a_network_if_its_name_says_so(url: str, local: bool) -> None:
    assert is_local(url) is local


@given(st.text())
def test_any_text_can_be_asked_for_its_scheme_host_and_name(text: str) -> None:
    assert scheme_of(text) == scheme_of(text).lower()
    for url in (text, f"http://{text}", f"file://{text}"):
        assert is_loopback(url) in (True, False)
        assert "/" not in name_in_url(url) or "%2f" in url.lower()


_ANY_URL = st.one_of(
    st.text(max_size=40),
    st.builds(
        "{}://{}{}".format,
        st.sampled_from(["http", "https", "HTTPS", "hf", "a+file", " http", "ht\ntp", "1x", ""]),
        st.text("ab.:@[]%\\/?# \t\n1é", max_size=12),
        st.text("ab/?#:@[]%. \\\n", max_size=12),
    ),
)


@given(_ANY_URL)
def test_whom_a_url_asks_follows_from_its_beginning(url: str) -> None:
    """What is found out once for all URLs of a place is what would be found out for each."""
    assert url.startswith(base_of(url))

    def whom(text: str) -> object:
        try:
            parts = urlsplit(text)
            return parts.scheme, parts.netloc, parts.hostname, parts.port
        except ValueError as error:
            return type(error)

    assert whom(base_of(url)) == whom(url)
