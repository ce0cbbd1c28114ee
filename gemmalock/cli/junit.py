"""What a run came to as JUnit XML, for CI servers: a test case a file, as pytest writes it (junit_family xunit2).

Who reads the file alone must not take a run that failed for one that did not: whatever makes the exit code another one
than 0 is a failure or an error in here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from gemmalock.cli.closing import tried
from gemmalock.cli.render import file_line
from gemmalock.durable import write_file
from gemmalock.escaping import escaped
from gemmalock.outcome import ExitCode, FileOutcome, Outcome, Report
from gemmalock.version import VERSION

#: What XML 1.0 (2.2) does not let stand in a document in any form, as far as `escaped` leaves it.
_FORBIDDEN = re.compile("[\ufffe\uffff]")


def write_junit(path: Path, report: Report) -> None:
    """Write a run that ends now to `path`, whole or not at all; folders above it are made. Raises OSError."""
    text = junit_xml(report, datetime.now(UTC) - timedelta(seconds=report.seconds))
    if path.exists() and not path.is_file():
        # A pipe or a terminal: there is nothing to be put in its place.
        path.write_bytes(text)
        return
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    write_file(target, text, 0o666)


def junit_xml(report: Report, began: datetime) -> bytes:
    """The whole document in UTF-8."""
    cases = list(_cases(report))
    root = Element("testsuites", name="gemmalock")
    suite = SubElement(root, "testsuite", name=f"gemmalock {report.command}")
    for name, verdict in (("errors", "error"), ("failures", "failure"), ("skipped", "skipped")):
        suite.set(name, str(sum(case.find(verdict) is not None for case in cases)))
    suite.set("tests", str(len(cases)))
    suite.set("time", f"{report.seconds:.3f}")
    suite.set("timestamp", began.isoformat(timespec="seconds"))
    properties = SubElement(suite, "properties")
    for key, value in (("gemmalock", VERSION), ("exit_code", int(report.exit_code)),
                       ("bytes_fetched", report.bytes_fetched), ("pruned", len(report.pruned))):  # fmt: skip
        SubElement(properties, "property", name=key, value=str(value))
    suite.extend(cases)
    text: bytes = ElementTree.tostring(root, "utf-8", xml_declaration=True)
    return text + b"\n"


def _cases(report: Report) -> Iterator[Element]:
    failed = any(file.error is not None for file in report.files)
    # `--check`: that something would be done is what has failed.
    is_finding = report.exit_code is ExitCode.FAILED and not failed and not report.errors
    for file in report.files:
        yield _file_case(file, is_finding=is_finding)
    for stray in report.pruned if is_finding else ():
        case = _case(f"gemmalock {report.command}", stray.path)
        _verdict(case, "failure", "stray", "it would be pruned")
        yield case
    for error in report.errors:
        case = _case(f"gemmalock {report.command}", error.place or error.code)
        _verdict(case, "error", error.code, error.message, error.hint and f"hint: {error.hint}")
        yield case
    found = any(file.outcome is Outcome.PLANNED for file in report.files) or report.pruned
    if not (report.ok or failed or report.errors or (is_finding and found)):
        case = _case(f"gemmalock {report.command}", "exit code")
        _verdict(case, "error", report.exit_code.name.lower(), f"the run ended with {int(report.exit_code)}")
        yield case


def _file_case(file: FileOutcome, *, is_finding: bool) -> Element:
    # A model of which not one file is known, because its source cannot be asked, is told as one.
    *whose, name = file.id.split("::", 2)
    case = _case("::".join(whose), name, file.seconds)
    told = "  ".join(file_line(file))
    if file.error is not None:
        hint = f"hint: {file.error.hint}" if file.error.hint else ""
        _verdict(case, "failure", file.error.code, file.error.message, *tried(file), hint)
    elif file.outcome is Outcome.PLANNED and is_finding:
        _verdict(case, "failure", "planned", told)
    elif file.outcome in (Outcome.PLANNED, Outcome.CANCELLED, Outcome.SKIPPED):
        _verdict(case, "skipped", file.outcome.value, told)
    return case


def _case(classname: str, name: str, seconds: float = 0.0) -> Element:
    return Element("testcase", classname=_text(classname), name=_text(name), time=f"{seconds:.3f}")


def _verdict(case: Element, what: str, kind: str, message: str, *more: str) -> None:
    """Enter what came of a case: a message in short, and all of it as text, a line a sentence."""
    verdict = SubElement(case, what, type=kind, message=_text(message))
    verdict.text = "\n".join(_text(line) for line in (message, *more) if line)


def _text(text: str) -> str:
    return _FORBIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", escaped(text))
