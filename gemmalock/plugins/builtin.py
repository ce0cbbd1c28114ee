"""The formats of `export` that gemmalock brings itself: a plugin like any other, that cannot be turned off."""

from __future__ import annotations

from collections.abc import Mapping

from gemmalock.exporters.aria2 import aria2
from gemmalock.exporters.cyclonedx import cyclonedx
from gemmalock.exporters.metalink import metalink
from gemmalock.exporters.node_json import node_json
from gemmalock.exporters.sha256sums import sha256sums
from gemmalock.plugins.specs import Exporter, hookimpl


@hookimpl
def gemmalock_exporters() -> Mapping[str, Exporter]:
    """As specs.gemmalock_exporters has it."""
    return {
        "sha256sums": sha256sums,
        "aria2": aria2,
        "metalink": metalink,
        "cyclonedx": cyclonedx,
        "json": node_json,
    }
