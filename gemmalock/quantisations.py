"""The quantisations of GGUF files, as their names tell them. Names alone are judged here."""

from __future__ import annotations

import re

from gemmalock.sets import shard_of

#: The types of llama.cpp and its forks, as GGUF files are named by (gguf.md, "GGUF Naming Convention", Encoding):
#: `Q4_K_M`, `IQ2_XXS`, `TQ1_0`, `Q4_0_4_4`, `MXFP4_MOE`, `BF16`; with `UD-` it is another recipe.
_FORM = r"(?:UD-)?(?:I?Q[1-9]|TQ[1-9]|MXFP[468]|NVFP4|BF16|F(?:16|32|64)|FP(?:8|16|32))(?:_[0-9A-Z]{1,4}){0,4}"
_QUANT = re.compile(_FORM, re.IGNORECASE | re.ASCII)
#: One inside of a name, whole. A `_` may stand before it, but behind it would be more of it.
_QUANT_IN_A_NAME = re.compile(rf"(?:^|(?<=[-._ +])){_FORM}(?=[-. +]|$)", re.IGNORECASE | re.ASCII)
_GGUF = ".gguf"
#: What lies beside a model and is none, though it has a type in its name: projectors for images, and what quantising
#: measured.
_ASIDE = re.compile(r"(?:^|[-._ /])(?:mmproj|imatrix)(?=[-._ /]|$)", re.IGNORECASE | re.ASCII)
#: The same as the last word of a name (gguf.md, Type).
_NO_MODEL = re.compile(r"(?:^|[-._ ])(?:lora|vocab)$", re.IGNORECASE | re.ASCII)
#: A quantisation is written with up to so many characters.
MAX_QUANT = 40


def is_quantisation(text: str) -> bool:
    """Whether a text is written as the quantisation of a GGUF file is, in either case."""
    return len(text) <= MAX_QUANT and _QUANT.fullmatch(text) is not None


def quantisation_of(name: str) -> str | None:
    """The quantisation of a GGUF model, in upper case: the last one in its file's name, else in that of the nearest
    folder that has one. None for a name without one, and for what is no model: `mmproj`, `imatrix`, `LoRA`, `vocab`."""
    if not name.lower().endswith(_GGUF):
        return None
    shard = shard_of(name)
    *folders, last = (shard[0].stem if shard is not None else name[: -len(_GGUF)]).split("/")
    if _ASIDE.search(name) or _NO_MODEL.search(last):
        return None
    for part in (last, *reversed(folders)):
        if found := _QUANT_IN_A_NAME.findall(part):
            return str(found[-1]).upper()
    return None
