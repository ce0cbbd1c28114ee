"""What a manifest wants and a source has not, in words: what there is instead, and what would make a set whole."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import islice

from gemmalock.errors import NotFound
from gemmalock.escaping import shown
from gemmalock.sets import Gap, gaps, models_among, shard_of
from gemmalock.spec import ModelSpec, is_local

#: So many names are shown, each up to so many characters, and how many more there are.
_SHOWN = 20
_LONGEST = 200
#: So many names are proposed.
_NEAR = 3
#: Characters that look alike in one font or another, in either case.
_LOOKS = str.maketrans("oil", "011")


def matches_nothing(glob: str, source: str, names: Collection[str]) -> NotFound:
    """A glob that selects nothing."""
    there = f"there is {_listed(names, len(names))}" if names else "it is empty"
    hint = "change `files` or `exclude` in the manifest"
    if is_local(source):
        hint = f"{hint}; symbolic links that lead out of the folder are left out"
    return NotFound(f"`{glob}` matches nothing in `{source}`; {there}", hint=hint)


def is_not_there(name: str, source: str, names: Collection[str]) -> NotFound:
    """A name that a source has not."""
    return NotFound(f"`{name}` is not in `{source}`", hint=instead_of(name, names))


def instead_of(name: str, names: Collection[str]) -> str:
    """The names that are near one that is not there, or else all that are, as a hint."""
    import difflib

    close = difflib.get_close_matches(name, names, n=_NEAR) or [each for each in names if each.endswith(f"/{name}")]
    alike = sorted(each for each in names if _looks(each) == _looks(name))
    if near := tuple(dict.fromkeys((*alike, *close)))[:_NEAR]:
        return f"did you mean {_listed(near, len(near))}?"
    return f"there is {_listed(names, len(names))}" if names else "it is empty"


def _looks(name: str) -> str:
    return name.casefold().translate(_LOOKS)


def no_such_quantisation(model: ModelSpec, names: Collection[str]) -> NotFound:
    """A quantisation of which a source has no file that is not excluded."""
    message = f"`quant: {model.quant}` selects nothing in `{model.source}`"
    if any(model.is_quantised(name) for name in names):
        return NotFound(message, hint="`exclude` takes out all files of that quantisation")
    from gemmalock.quantisations import quantisation_of

    found = sorted({found for name in names if (found := quantisation_of(name)) is not None})
    if not found:
        return NotFound(f"{message}; it has no GGUF file whose name tells a quantisation", hint="name them in `files`")
    near = [each for each in found if model.quant is not None and model.quant in each]
    hint = f"did you mean {_listed(near, len(near))}?" if near else "write one of them, or name the files in `files`"
    return NotFound(f"{message}; there is {_listed(found, len(found))}", hint=hint)


def many_models(model: ModelSpec, names: Iterable[str]) -> NotFound | None:
    """A quantisation that files of several models have; None where the files are one model, whole or in shards."""
    models = models_among(names)
    if len(models) < 2:
        return None
    message = f"`quant: {model.quant}` fits {len(models)} models in `{model.source}`: {_listed(models, len(models))}"
    return NotFound(message, hint="take the others out by `exclude`, or name the files in `files` instead")


def lacks_shards(
    model: ModelSpec, index: str, shards: Collection[str], there: Collection[str] | None
) -> tuple[frozenset[str], NotFound | None]:
    """Those of the shards that an index names which cannot be had from the source, and the error that they are; `there`
    is what the source has, None where it cannot be listed."""
    excluded = frozenset(name for name in shards if model.excludes(name))
    absent = frozenset(shards) - excluded - frozenset(shards if there is None else there)
    if absent:
        verb = "which is" if len(absent) == 1 else "which are"
        message = f"`{index}` names {_listed(sorted(absent), len(absent))}, {verb} not in `{model.source}`"
        return excluded | absent, NotFound(message, hint="ask the publisher; `exclude` leaves the index out")
    if excluded:
        message = f"`{index}` names {_listed(sorted(excluded), len(excluded))}, which `exclude` takes out"
        return excluded, NotFound(message, hint="exclude the index as well, or none of its shards")
    return frozenset(), None


def undeclared_shards(index: str, shards: Collection[str], names: Collection[str]) -> NotFound | None:
    """Those shards of an index declared by URL that its model does not declare."""
    absent = sorted(frozenset(shards).difference(names))
    if not absent:
        return None
    message = f"`{index}` names {_listed(absent, len(absent))}, and the model does not"
    return NotFound(message, hint="declare all shards of the index by their `url`")


def gap_errors(
    model: ModelSpec, names: Collection[str], there: Collection[str] | None
) -> Iterator[tuple[str, NotFound]]:
    """For each set of which `names` has a shard but not all: a name that is missing, and the error that names all of
    them, by where they are. `there` is as for `lacks_shards`."""
    had = {name: shard[0] for name in there or () if name not in names and (shard := shard_of(name)) is not None}
    for gap in gaps(names):
        left = sorted(name for name, of in had.items() if of == gap.set)
        excluded = [name for name in left if model.excludes(name)]
        if excluded:
            hint = f"exclude the whole set, `{gap.set.glob}`, or none of its shards"
            yield excluded[0], _gap_error(gap, excluded, len(excluded), "taken out by `exclude`", hint)
        if unselected := [name for name in left if name not in excluded]:
            hint = f"select the whole set: `{gap.set.glob}`"
            why = f"in `{model.source}`, but not selected"
            yield unselected[0], _gap_error(gap, unselected, len(unselected), why, hint)
        yield from _absent(model, gap, frozenset(left), is_listed=there is not None)


def _absent(model: ModelSpec, gap: Gap, had: frozenset[str], *, is_listed: bool) -> Iterator[tuple[str, NotFound]]:
    count = gap.count - len(had)
    first = list(islice((name for name in gap.missing() if name not in had), _SHOWN))
    if not first:
        return
    if is_listed:
        why = f"not in `{model.source}`"
        hint = f"ask the publisher for the whole set, or exclude all of it: `{gap.set.glob}`"
    else:
        why, hint = "not among the model's files", "name all shards of the set, as text or by `url`"
    yield first[0], _gap_error(gap, first, count, why, hint)


def _gap_error(gap: Gap, names: Collection[str], count: int, why: str, hint: str) -> NotFound:
    verb, them = ("is", "it") if count == 1 else ("are", "them")
    message = f"{_listed(names, count)} {verb} {why}: the set of {gap.set.count} shards is not whole without {them}"
    return NotFound(message, hint=hint)


def _listed(names: Collection[str], count: int) -> str:
    """The first of these names, of which there are `count` in all."""
    first = ", ".join(f"`{shown(name, _LONGEST)}`" for name in islice(names, _SHOWN))
    return f"{first} and {count - _SHOWN} more" if count > _SHOWN else first
