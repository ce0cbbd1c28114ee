"""Where the data files are: schemas and the manifest format, at the top of a checkout, inside the package of a wheel.

Everybody who reads one asks here; nobody else knows that there are two places.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


@lru_cache(maxsize=1)
def data_folder() -> Path:
    """The folder that holds `schemas/` and `manifest/`."""
    shipped = _PACKAGE / "data"
    return shipped if shipped.is_dir() else _PACKAGE.parent


def schema_text(name: str) -> str:
    """The text of a schema, by its file name, as `lock.v1.schema.json`."""
    return (data_folder() / "schemas" / name).read_text(encoding="utf-8")


def catalogue_folder() -> Path:
    """The folder of the catalogue: ready manifests, each called as its entry, with `.yaml`."""
    return data_folder() / "manifest" / "catalogue"
