"""What GitHub says of releases, read: every shape that it has, and every other one refused in words."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemmalock.errors import SourceError
from gemmalock.lockfile import asset_url
from gemmalock.sources.github_papers import (
    About,
    Asset,
    Repository,
    place_of,
    read_about,
    read_assets,
    read_release,
    read_releases,
    repository_of,
)

URL = "https://api.github.com/repos/o/r/releases/tags/v1"
DIGEST = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
MOMENT = datetime(2025, 6, 1, tzinfo=UTC)
ASSET: dict[str, Any] = {
    "id": 7,
    "name": "a.gguf",
    "state": "uploaded",
    "size": 3,
    "digest": f"sha256:{DIGEST}",
    "created_at": "2025-06-01T00:00:00Z",
    "browser_download_url": "https://elsewhere.example/a.gguf",
}
RELEASE: dict[str, Any] = {
    "id": 5,
    "tag_name": "v1",
    "draft": False,
    "prerelease": False,
    "published_at": "2025-06-01T00:00:00Z",
    "assets": [ASSET],
}


def body(value: object) -> bytes:
    return json.dumps(value).encode()


def test_a_release_is_read() -> None:
    release = read_release(body(RELEASE), URL)
    assert (release.id, release.tag, release.published, release.is_prerelease) == (5, "v1", MOMENT, False)
    assert release.assets == (Asset(7, "a.gguf", 3, DIGEST, MOMENT),)


@pytest.mark.parametrize("digest", [None, "sha512:ab"])
def test_a_digest_that_is_none_of_ours_is_none(digest: str | None) -> None:
    (asset,) = read_assets(body([ASSET | {"digest": digest}]), URL)
    assert asset.sha256 is None


@pytest.mark.parametrize("state", ["open", "starter", None])
def test_what_was_not_uploaded_whole_is_no_file(state: str | None) -> None:
    assert read_assets(body([ASSET | {"state": state, "size": 0}]), URL) == ()


def test_a_draft_was_never_published() -> None:
    draft = RELEASE | {"draft": True, "published_at": None}
    assert read_release(body(draft), URL).published is None
    assert read_releases(body([draft, RELEASE]), URL) == (read_release(body(RELEASE), URL),)


@pytest.mark.parametrize(("count", "more"), [(0, False), (29, False), (30, True), (100, True)])
def test_a_release_of_a_page_of_assets_may_have_more(count: int, more: bool) -> None:
    assets = [ASSET | {"name": f"{number}.gguf"} for number in range(count)]
    assert read_release(body(RELEASE | {"assets": assets}), URL).may_have_more is more


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": None},
        {"id": True},
        {"id": "5"},
        {"tag_name": None},
        {"tag_name": ""},
        {"tag_name": "\ud800"},
        {"tag_name": "v1\n"},
        {"published_at": None},
        {"published_at": "yesterday"},
        {"published_at": "2025-06-01T00:00:00"},
        {"assets": None},
        {"assets": {}},
        {"assets": ["a"]},
        {"assets": [ASSET | {"name": None}]},
        {"assets": [ASSET | {"name": "\ud800"}]},
        {"assets": [ASSET | {"size": -1}]},
        {"assets": [ASSET | {"size": 3.0}]},
        {"assets": [ASSET | {"size": 2**63}]},
        {"assets": [ASSET | {"id": None}]},
        {"assets": [ASSET | {"digest": "sha256:abc"}]},
        {"assets": [ASSET | {"digest": 5}]},
        {"assets": [ASSET | {"created_at": None}]},
    ],
    ids=repr,
)
def test_another_shape_is_refused_in_words(wrong: dict[str, Any]) -> None:
    with pytest.raises(SourceError, match="answered without") as caught:
        read_release(body(RELEASE | wrong), URL)
    assert "GITHUB_API_URL" in caught.value.hint


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*RELEASE, *ASSET, "x"]), inner),
    max_leaves=20,
)


@given(JSON | st.dictionaries(st.sampled_from(list(RELEASE)), JSON).map(lambda given: RELEASE | given))
def test_whatever_is_answered_is_read_or_refused(value: object) -> None:
    for read in (read_release, read_releases, read_assets, read_about):
        try:
            read(body(value), URL)
        except SourceError as error:
            assert error.message.startswith(f"`{URL}` answered without")


@pytest.mark.parametrize("text", [b"", b"<html>", b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(SourceError, match="without JSON"):
        read_release(text, URL)


@pytest.mark.parametrize(
    ("license", "named"),
    [
        ({"spdx_id": "Apache-2.0"}, "Apache-2.0"),
        ({"spdx_id": "NOASSERTION"}, None),
        ({"spdx_id": None}, None),
        ({"spdx_id": "MIT\nGPL"}, None),
        ({"spdx_id": "x\x1b[31my"}, None),
        ({"spdx_id": "x\0y"}, None),
        ({"spdx_id": "x\ud800y"}, None),
        ({"spdx_id": 5}, None),
        ({}, None),
        (None, None),
        ("MIT", None),
    ],
)
def test_a_licence_is_what_spdx_calls_it(license: object, named: str | None) -> None:
    assert read_about(body({"license": license, "private": True}), URL) == About(named, True)


@pytest.mark.parametrize(
    ("source", "repository", "tag"),
    [
        ("github://o/r@v1", Repository("o", "r"), "v1"),
        ("github://o/r", Repository("o", "r"), None),
        ("GitHub://o/r.cpp@rel/v1", Repository("o", "r.cpp"), "rel/v1"),
        ("github://o/r@@s/p@1", Repository("o", "r"), "@s/p@1"),
    ],
)
def test_a_source_names_a_repository_and_a_tag(source: str, repository: Repository, tag: str | None) -> None:
    assert repository_of(source) == (repository, tag)


@pytest.mark.parametrize("source", ["github://o", "github://o/r/x", "github://o/..", "github://../r", "github://o/r@"])
def test_a_source_that_names_no_repository_is_refused(source: str) -> None:
    with pytest.raises(SourceError, match="names no repository") as caught:
        repository_of(source)
    assert "github://owner/repo@tag" in caught.value.hint


@pytest.mark.parametrize(("tag", "name"), [("v1", "a.gguf"), ("rel/v1", "a b@c+d.gguf"), ("@s/p@1", "ü.gguf")])
def test_a_locked_url_leads_back_to_its_file(tag: str, name: str) -> None:
    place = place_of(asset_url("o", "r.x", tag, name))
    assert place is not None
    assert (place.repository, place.tag, place.name) == (Repository("o", "r.x"), tag, name)


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/o/r/releases",
        "https://github.com/o/r/raw/main/a.gguf",
        "https://github.com/o/r/releases/latest/download/a.gguf",
        "https://github.com/o/r/releases/download/rel/v1/a.gguf",
        "https://github.com/o/r/releases/download/v1/a.gguf?x=1",
        "https://github.com.evil.example/o/r/releases/download/v1/a.gguf",
        "https://github.com/o/../releases/download/v1/a.gguf",
    ],
)
def test_another_url_is_that_of_no_file_of_a_release(url: str) -> None:
    assert place_of(url) is None
