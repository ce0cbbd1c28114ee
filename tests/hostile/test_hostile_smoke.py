from __future__ import annotations
from tests.hostile.stage import Stage

def test_a(synced: Stage) -> None:
    synced.run("sync")
def test_b(stage: Stage) -> None:
    pass
