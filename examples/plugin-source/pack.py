"""Makes `release.zip`, the archive that the example's manifest takes its files from: `python pack.py`.

The members are the same on every machine, so that the committed lock holds.
"""

from __future__ import annotations

import random
import zipfile
from pathlib import Path

MEMBERS = {
    "tiny/config.json": b'{"model_type": "tiny"}\n',
    "tiny/weights.bin": random.Random(2026).randbytes(3_000_000),
    "notes/NOTES.md": b"not part of the model\n",
}


def main() -> None:
    """Write the archive beside this file: weights as they are, the rest compressed."""
    with zipfile.ZipFile(Path(__file__).with_name("release.zip"), "w") as archive:
        for name, body in MEMBERS.items():
            how = zipfile.ZIP_STORED if name.endswith(".bin") else zipfile.ZIP_DEFLATED
            archive.writestr(name, body, how)


if __name__ == "__main__":
    main()
