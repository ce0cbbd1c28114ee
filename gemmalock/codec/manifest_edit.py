"""Edits of a manifest's text that keep comments and layout. The text is that of a manifest that was read before; what
it means is `codec.manifest`'s to say."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ruamel.yaml import YAML

_SEQUENCE = re.compile(rb"^( +)[^\s#-][^#\n]*:\s*(?:#.*)?\r?\n( *)- ", re.MULTILINE)


def add_model(text: bytes, name: str, model: dict[str, object]) -> bytes:
    """The manifest with a further model, of a new name, at the end."""
    document, yaml = _load(text)
    models = document.get("models")
    if models is None:
        models = document["models"] = {}
    _open_up(models)
    models[name] = model
    return _dump(document, yaml, text)


def remove_model(text: bytes, name: str) -> bytes:
    """The manifest without one of its models."""
    document, yaml = _load(text)
    del document["models"][name]
    return _dump(document, yaml, text)


def _open_up(models: Any) -> None:
    """`models: {}` becomes a block when something is put into it."""
    if not models and hasattr(models, "fa"):
        models.fa.set_block_style()


def _load(text: bytes) -> tuple[Any, YAML]:
    from ruamel.yaml import YAML

    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = 2**16
    yaml.indent(mapping=2, sequence=4, offset=2)
    if (found := _SEQUENCE.search(text)) and len(found[2]) == len(found[1]):
        yaml.indent(mapping=2, sequence=2, offset=0)
    return yaml.load(text.decode("utf-8-sig")), yaml


def _dump(document: Any, yaml: YAML, before: bytes) -> bytes:
    out = io.StringIO()
    yaml.dump(document, out)
    text = out.getvalue().encode()
    return text.replace(b"\n", b"\r\n") if b"\r\n" in before else text
