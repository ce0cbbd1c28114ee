"""Write `docs/demo.svg`: a picture of a real run of `gemmalock demo`, as a terminal shows it."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "demo.svg"
WIDTH = 110


def main() -> None:
    """Run the demo and draw what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "gemmalock", "--color", "always", "demo"],
        env=os.environ | {"COLUMNS": str(WIDTH)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi("$ gemmalock demo\n" + done.stdout.rstrip()))
    picture = console.export_svg(title="gemmalock demo")
    # The fonts are those of whoever looks: nothing is to be fetched for a picture.
    picture = re.sub(r"@font-face \{.*?\}\s*|<!--.*?-->\s*", "", picture, flags=re.DOTALL)
    PICTURE.write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
