"""Write what the docs have from the code: the table of `docs/resume.md`."""

from __future__ import annotations

from pathlib import Path

from gemmalock.plan import TABLE

MARK = "<!-- the table of gemmalock/plan.py -->"
PAGE = Path(__file__).resolve().parents[1] / "docs" / "resume.md"


def table_text() -> str:
    """The table as Markdown."""
    lines = ["| first row that fits | `resume_status` | `action` | what sync does |", "|---|---|---|---|"]
    lines += [f"| {row.when} | `{row.status.value}` | `{row.action.value}` | {row.does} |" for row in TABLE]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Put the table between its marks."""
    before, _, after = PAGE.read_text(encoding="utf-8").split(MARK)
    PAGE.write_text(f"{before}{MARK}\n\n{table_text()}\n{MARK}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
