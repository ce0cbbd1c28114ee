"""Which names belong together as one model: shards that are numbered, and shards that an index names.

Names alone are judged here, and the text of an index; what a source has, and what a manifest wants of it, is said by
others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gemmalock.errors import PolicyRefused, UnsafePath
from gemmalock.paths import joined, path_problem

#: What weights are kept in, a part a file, by PyTorch, Keras, Flax, safetensors and GGUF. Data sets are numbered so
#: too, but from 0.
_SHARD = re.compile(
    r"(?s:(.*))-([0-9]{1,6})-of-([0-9]{1,6})\.(gguf|safetensors|bin|pt|pth|h5|msgpack)", re.IGNORECASE | re.ASCII
)
#: An index of shards as transformers and diffusers write it, with a variant before or after `index` or without one.
_INDEX = re.compile(r"(?s:.+)\.safetensors\.index(?:\.[A-Za-z0-9_-]+)?\.json")
_SHARD_OF_INDEX = ".safetensors"


# --- numbered shards -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ShardSet:
    """The names `STEM-00001-of-00005.EXT` to `STEM-00005-of-00005.EXT`; `total` as it is written, with its zeros."""

    stem: str
    total: str
    extension: str

    @property
    def count(self) -> int:
        """How many shards the set has."""
        return int(self.total)

    def name(self, number: int) -> str:
        """The name of one of its shards, from 1 on."""
        return f"{self.stem}-{number:0{len(self.total)}}-of-{self.total}.{self.extension}"

    @property
    def glob(self) -> str:
        """What matches all of its shards."""
        return f"{self.stem}-*-of-{self.total}.{self.extension}"


@dataclass(frozen=True, slots=True)
class Gap:
    """A set that is not whole; `there` are the numbers of the shards that it has."""

    set: ShardSet
    there: frozenset[int]

    @property
    def count(self) -> int:
        """How many shards are missing."""
        return self.set.count - len(self.there)

    def missing(self) -> Iterator[str]:
        """The names of the shards that are missing, in order: made as they are asked for, since a name can claim to be
        one of a million."""
        return (self.set.name(number) for number in range(1, self.set.count + 1) if number not in self.there)


def shard_of(name: str) -> tuple[ShardSet, int] | None:
    """The set that a name is a shard of, and its number in it; None for other names. Both numbers are of one width, and
    count from 1."""
    found = _SHARD.fullmatch(name) if "-of-" in name else None
    if found is None or len(found[2]) != len(found[3]) or not 1 <= int(found[2]) <= int(found[3]):
        return None
    return ShardSet(found[1], found[3], found[4]), int(found[2])


def gaps(names: Iterable[str]) -> tuple[Gap, ...]:
    """The sets of which `names` has a shard, but not all, in order."""
    sets: dict[ShardSet, set[int]] = {}
    for shard in map(shard_of, names):
        if shard is not None:
            sets.setdefault(shard[0], set()).add(shard[1])
    found = (Gap(whole, frozenset(there)) for whole, there in sets.items() if len(there) < whole.count)
    return tuple(sorted(found, key=lambda gap: gap.set.glob))


# --- shards that an index names ------------------------------------------------------------------------------


def is_index(name: str) -> bool:
    """Whether a file says by its name that it is an index of safetensors."""
    return _INDEX.fullmatch(name) is not None


def may_be_named_by(index: str, name: str) -> bool:
    """Whether `name` can be one of the shards of an index: it is beside it or below."""
    return name.endswith(_SHARD_OF_INDEX) and name.startswith(index[: index.rfind("/") + 1])


def shards_of(text: bytes, index: str) -> tuple[str, ...]:
    """The names of the shards in the text of the index of that name, as the source has them.

    They are the values of `weight_map`, which maps tensors to files beside the index (transformers, "sharded
    checkpoints"). Raises PolicyRefused for what is no such index, UnsafePath for a shard that is neither beside nor
    below it.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _no_index(index, "it is not JSON") from error
    named = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(named, dict):
        raise _no_index(index, "it has no `weight_map` that maps tensors to files")
    if not named:
        raise _no_index(index, "its `weight_map` is empty")
    folder = index.rpartition("/")[0]
    return tuple(sorted({joined(folder, _shard_in(index, value)) for value in named.values()}))


def _shard_in(index: str, value: object) -> str:
    if not isinstance(value, str) or not value.endswith(_SHARD_OF_INDEX):
        shown = json.dumps(value)[:200]
        raise _no_index(index, f"its `weight_map` has `{shown}` where the name of a `{_SHARD_OF_INDEX}` file belongs")
    if problem := path_problem(value):
        hint = "do not use this model before its publisher has said why; `exclude` leaves the index out"
        raise UnsafePath(f"`{index}` names a shard `{value[:200]}`, and that path {problem}", hint=hint)
    return value


def _no_index(index: str, why: str) -> PolicyRefused:
    hint = "ask the publisher for a right one; `exclude` leaves it out, and its shards are then yours to name"
    return PolicyRefused(f"`{index}` is no index of shards: {why}", hint=hint)


# --- models --------------------------------------------------------------------------------------------------


def models_among(names: Iterable[str]) -> tuple[str, ...]:
    """The models that these files are, whole files and sets of shards, each named by one text."""
    sets = {shard[0].glob if (shard := shard_of(name)) is not None else name for name in names}
    return tuple(sorted(sets))
