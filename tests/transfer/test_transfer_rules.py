"""The room's small rules: which bytes may be combined, and when upstream has changed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemmalock.journal import CHUNK, Chunk, Validator
from gemmalock.lockfile import is_strong
from gemmalock.transfer.combine import changed, clash, doubtful, same_origin, telling
from tests.transfer.twins import ETAG, ORIGIN, URL, locked

CDN = "https://cdn.example.net"
BODY = b"x"
ETAGS = st.sampled_from([None, '"v1"', '"v2"', 'W/"v1"', "v1"])
VALIDATORS = st.builds(Validator, ETAGS, st.sampled_from([ORIGIN, CDN]))

# --- what a tag tells --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "proven", "unproven"),
    [
        (Validator('"v1"', ORIGIN), '"v1"', '"v1"'),
        (Validator('"v1"', CDN), None, '"v1"'),
        (Validator('W/"v1"', CDN), None, 'W/"v1"'),
        (Validator(None, CDN), None, None),
    ],
)
def test_the_tag_of_a_server_redirected_to_tells_nothing_where_there_is_a_digest(
    found: Validator, proven: str | None, unproven: str | None
) -> None:
    assert telling(locked(BODY), found, URL) == Validator(proven, found.origin)
    assert telling(locked(BODY, proven=False), found, URL) == Validator(unproven, found.origin)


# --- combining ---------------------------------------------------------------------------------------------

#: The validators of old and new bytes, and whether they may be combined with a digest, and without.
COMBINATIONS = [
    (Validator('"v1"', ORIGIN), Validator('"v1"', ORIGIN), True, True),
    (Validator('"v1"', ORIGIN), Validator('"v2"', ORIGIN), False, False),
    (Validator('"v1"', ORIGIN), Validator('"v2"', CDN), True, False),
    (Validator('"v1"', ORIGIN), Validator('"v1"', CDN), True, False),
    (Validator('W/"v1"', ORIGIN), Validator('W/"v1"', ORIGIN), True, False),
    (Validator('W/"v1"', ORIGIN), Validator('"v2"', ORIGIN), True, False),
    (Validator(None, ORIGIN), Validator('"v2"', ORIGIN), True, False),
    (Validator(None, ORIGIN), Validator(None, ORIGIN), True, False),
]


@pytest.mark.parametrize(("old", "new", "proven", "unproven"), COMBINATIONS)
def test_which_bytes_may_be_combined(old: Validator, new: Validator, proven: bool, unproven: bool) -> None:
    assert (clash(locked(BODY), [old], new) is None) is proven
    assert (clash(locked(BODY, proven=False), [old], new) is None) is unproven


@given(VALIDATORS, VALIDATORS)
def test_a_digest_never_forbids_more(old: Validator, new: Validator) -> None:
    if clash(locked(BODY, proven=False), [old], new) is None:
        assert clash(locked(BODY), [old], new) is None


@given(VALIDATORS)
def test_the_first_bytes_clash_with_nothing(new: Validator) -> None:
    assert clash(locked(BODY), [], new) is None
    assert clash(locked(BODY, proven=False), [], new) is None


@given(st.lists(VALIDATORS, max_size=6), st.booleans())
def test_chunks_that_are_kept_never_clash_with_each_other(validators: list[Validator], proven: bool) -> None:
    file = locked(bytes(1), etag=ETAG, proven=proven)
    chunks = {index: Chunk(index, CHUNK, "", validator) for index, validator in enumerate(validators)}
    doubt = doubtful(file, chunks)
    kept = {chunk.validator for index, chunk in chunks.items() if doubt is None or index not in doubt.indexes}
    for one in kept:
        assert clash(file, kept - {one}, one) is None
        assert proven or (one.etag == ETAG and is_strong(one.etag))
    assert kept or not validators or not proven


def test_the_larger_part_stays() -> None:
    old, new = Validator('"v1"', ORIGIN), Validator('"v2"', ORIGIN)
    chunks = {0: Chunk(0, CHUNK, "", old), 1: Chunk(1, CHUNK, "", new), 2: Chunk(2, CHUNK, "", new)}
    doubt = doubtful(locked(BODY), chunks)
    assert doubt is not None
    assert doubt.indexes == {0}


@pytest.mark.parametrize(
    ("etag", "found", "url", "says"),
    [
        (ETAG, Validator('"v2"', ORIGIN), URL, True),
        (ETAG, Validator('W/"v1"', ORIGIN), URL, False),
        (ETAG, Validator('"v2"', CDN), URL, False),
        (ETAG, Validator(None, ORIGIN), URL, False),
        (None, Validator('"v2"', ORIGIN), URL, False),
        (ETAG, Validator('"v2"', CDN), f"{CDN}/gemma.gguf", False),
    ],
)
def test_when_upstream_seems_to_have_changed(etag: str | None, found: Validator, url: str, says: bool) -> None:
    assert (changed(locked(BODY, etag=etag), found, url) is not None) is says


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://a.example", "https://a.example:443/x?y", True),
        ("http://A.example:80", "http://a.example/", True),
        ("http://a.example", "https://a.example", False),
        ("https://a.example:8443", "https://a.example", False),
        ("https://a.example", "https://b.example", False),
    ],
)
def test_an_origin_is_scheme_host_and_port(one: str, other: str, same: bool) -> None:
    assert same_origin(one, other) is same
