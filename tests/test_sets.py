"""Which names belong together: numbered shards, and the shards of an index."""

from __future__ import annotations

import json
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemmalock.errors import PolicyRefused, UnsafePath
from gemmalock.sets import (
    ShardSet,
    gaps,
    is_index,
    may_be_named_by,
    models_among,
    shard_of,
    shards_of,
)

# --- numbered shards -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "stem", "number", "total"),
    [
        ("model-00001-of-00005.safetensors", "model", 1, "00005"),
        ("model-00005-of-00005.safetensors", "model", 5, "00005"),
        ("a/b/pytorch_model-00002-of-00002.bin", "a/b/pytorch_model", 2, "00002"),
        ("Q4_K_M/gemma-Q4_K_M-00001-of-00003.gguf", "Q4_K_M/gemma-Q4_K_M", 1, "00003"),
        ("phi.Q8_0.shard-00007-of-00040.gguf", "phi.Q8_0.shard", 7, "00040"),
        ("diffusion_pytorch_model.fp16-00001-of-00002.safetensors", "diffusion_pytorch_model.fp16", 1, "00002"),
        ("m-1-of-3.pth", "m", 1, "3"),
        ("m-000001-of-999999.gguf", "m", 1, "999999"),
        ("tf_model-00001-of-00002.h5", "tf_model", 1, "00002"),
        ("flax_model-00001-of-00002.msgpack", "flax_model", 1, "00002"),
        ("M-00001-OF-00002.gguf", None, 0, ""),
        ("m-00001-of-00002.GGUF", "m", 1, "00002"),
        ("m-00000-of-00002.gguf", None, 0, ""),
        ("m-00003-of-00002.gguf", None, 0, ""),
        ("m-00000-of-00000.gguf", None, 0, ""),
        ("m-0001-of-00002.gguf", None, 0, ""),
        ("m-0000001-of-0000002.gguf", None, 0, ""),
        ("m-00001-of-00002", None, 0, ""),
        ("train-00001-of-00002.parquet", None, 0, ""),
        ("m-00001-of-00002.gguf.part", None, 0, ""),
        ("m00001-of-00002.gguf", None, 0, ""),
        ("m-٠٠٠٠١-of-٠٠٠٠٢.gguf", None, 0, ""),
        ("model.safetensors", None, 0, ""),
    ],
)
def test_a_shard_is_told_by_its_name(name: str, stem: str | None, number: int, total: str) -> None:
    found = shard_of(name)
    assert found == (None if stem is None else (ShardSet(stem, total, name.rpartition(".")[2]), number))
    if found is not None:
        assert found[0].name(number) == name


_SETS = st.builds(
    lambda stem, width, count: ShardSet(stem, f"{min(count, 10**width - 1):0{width}}", "gguf"),
    st.sampled_from(["m", "a/m", "m-00001-of-00002", "-of-"]),
    st.integers(1, 6),
    st.integers(2, 60),
)


@given(_SETS, st.data())
def test_whatever_is_taken_out_of_a_set_is_missing_and_a_whole_set_has_no_gap(
    whole: ShardSet, data: st.DataObject
) -> None:
    names = [whole.name(number) for number in range(1, whole.count + 1)]
    assert gaps([*names, "README.md"]) == ()
    taken = data.draw(st.sets(st.sampled_from(names), min_size=1, max_size=len(names) - 1))
    (gap,) = gaps(name for name in names if name not in taken)
    assert set(gap.missing()) == taken
    assert gap.count == len(taken)


def test_sets_of_other_totals_widths_stems_and_extensions_are_other_sets() -> None:
    names = ["m-1-of-2.gguf", "m-2-of-3.gguf", "m-01-of-02.gguf", "n-1-of-2.gguf", "m-1-of-2.bin"]
    assert len(gaps(names)) == len(names)
    assert gaps([]) == ()


def test_a_name_that_claims_to_be_one_of_a_million_costs_no_million() -> None:
    (gap,) = gaps(["m-000002-of-999999.gguf"])
    assert gap.count == 999998
    assert list(islice(gap.missing(), 2)) == ["m-000001-of-999999.gguf", "m-000003-of-999999.gguf"]


# --- indexes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("model.safetensors.index.json", True),
        ("unet/diffusion_pytorch_model.safetensors.index.json", True),
        ("transformer/diffusion_pytorch_model.fp16.safetensors.index.json", True),
        ("model.safetensors.index.fp16.json", True),
        ("pytorch_model.bin.index.json", False),
        ("model_index.json", False),
        (".safetensors.index.json", False),
        ("model.safetensors.index.json.bak", False),
        ("model.safetensors", False),
    ],
)
def test_an_index_of_safetensors_is_told_by_its_name(name: str, is_one: bool) -> None:
    assert is_index(name) is is_one


@pytest.mark.parametrize(
    ("index", "name", "may"),
    [
        ("model.safetensors.index.json", "model-00001-of-00002.safetensors", True),
        ("model.safetensors.index.json", "deep/er.safetensors", True),
        ("a/model.safetensors.index.json", "a/x.safetensors", True),
        ("a/model.safetensors.index.json", "x.safetensors", False),
        ("a/model.safetensors.index.json", "ab/x.safetensors", False),
        ("model.safetensors.index.json", "config.json", False),
        ("model.safetensors.index.json", "model.bin", False),
    ],
)
def test_an_index_may_name_what_is_beside_or_below_it(index: str, name: str, may: bool) -> None:
    assert may_be_named_by(index, name) is may


def test_the_shards_of_an_index_are_named_once_from_its_folder() -> None:
    weight_map = {"a": "m-2.safetensors", "b": "m-1.safetensors", "c": "m-2.safetensors", "d": "x/m.safetensors"}
    text = json.dumps({"metadata": {"total_size": 3}, "weight_map": weight_map}).encode()
    assert shards_of(text, "model.safetensors.index.json") == ("m-1.safetensors", "m-2.safetensors", "x/m.safetensors")
    assert shards_of(text, "unet/d.safetensors.index.json")[0] == "unet/m-1.safetensors"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "it is not JSON"),
        (b"\xff\xfe", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b"[]", "it has no `weight_map`"),
        (b'{"weight_map": ["a.safetensors"]}', "it has no `weight_map`"),
        (b'{"weight_map": {}}', "its `weight_map` is empty"),
        (b'{"weight_map": {"a": 3}}', "its `weight_map` has `3` where"),
        (b'{"weight_map": {"a": "evil.sh"}}', 'its `weight_map` has `"evil.sh"` where'),
    ],
)
def test_what_is_no_index_is_told_with_its_name(text: bytes, why: str) -> None:
    with pytest.raises(PolicyRefused) as caught:
        shards_of(text, "deep/model.safetensors.index.json")
    assert caught.value.message.startswith(f"`deep/model.safetensors.index.json` is no index of shards: {why}")
    assert "`exclude`" in caught.value.hint


@pytest.mark.parametrize(
    "shard", ["../m.safetensors", "/m.safetensors", "a/../../m.safetensors", "..\\m.safetensors", "C:m.safetensors"]
)
def test_a_shard_that_would_leave_the_folder_of_its_index_is_refused(shard: str) -> None:
    text = json.dumps({"weight_map": {"a": shard}}).encode()
    with pytest.raises(UnsafePath) as caught:
        shards_of(text, "deep/model.safetensors.index.json")
    assert "`deep/model.safetensors.index.json` names a shard" in caught.value.message


@given(st.binary(max_size=200))
def test_any_text_is_an_index_or_refused(text: bytes) -> None:
    with pytest.raises((PolicyRefused, UnsafePath)):
        shards_of(text, "model.safetensors.index.json")


# --- models --------------------------------------------------------------------------------------------------


def test_files_of_one_model_are_told_as_one() -> None:
    names = ["b-Q8_0.gguf", "a-1-of-2.gguf", "a-2-of-2.gguf", "x/a-1-of-2.gguf"]
    assert models_among(names) == ("a-*-of-2.gguf", "b-Q8_0.gguf", "x/a-*-of-2.gguf")


@given(st.text(max_size=80))
def test_any_name_can_be_judged(name: str) -> None:
    assert is_index(name) in (True, False)
    assert shard_of(name) is None or "-of-" in name
