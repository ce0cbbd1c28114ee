"""`init`: a starting manifest, and the line that keeps the root out of git."""

from __future__ import annotations

from pathlib import Path

from gemmalock.errors import UsageError, disk_error
from gemmalock.spec import DEFAULT_ROOT, MANIFEST_NAME

STARTING_MANIFEST = """\
# The models that this project needs. `gemmalock lock` pins them, `gemmalock sync` fetches them.
version: 1
root: models  # the managed folder; gemmalock keeps it exactly as the lock says

models: {}
  # gemma:
  #   files:
  #     - url: https://models.example.org/gemma/gemma-3-270m-q4_k_m.gguf
  #       # sha256: 64 hexadecimal digits; believed over the server
  #   license: gemma
  #   tags: [llm]
"""


def write_start(folder: Path, text: str = STARTING_MANIFEST, root: str = DEFAULT_ROOT) -> tuple[str, ...]:
    """Write a manifest and the .gitignore line for its root into `folder`. What was done, a sentence each.

    Raises UsageError where there is a manifest already, DiskError.
    """
    manifest = folder / MANIFEST_NAME
    try:
        with manifest.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"there is a `{MANIFEST_NAME}` already", hint="edit it, then run `gemmalock lock`") from None
    except OSError as error:
        raise disk_error(error, f"write `{MANIFEST_NAME}`") from error
    done = [f"wrote `{MANIFEST_NAME}`"]
    if _ignore(folder / ".gitignore", f"/{root}/"):
        done.append(f"added `/{root}/` to `.gitignore`")
    return tuple(done)


def _ignore(path: Path, line: str) -> bool:
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        if line in text.splitlines():
            return False
        with path.open("a", encoding="utf-8") as file:
            file.write(("" if not text or text.endswith("\n") else "\n") + line + "\n")
    except (OSError, UnicodeDecodeError):
        return False
    return True
