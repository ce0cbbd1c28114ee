"""What a connection asks for, and which answers may be joined to what is here. Values in, values or refusals out."""

from __future__ import annotations

from gemmalock.errors import RangeRefused
from gemmalock.journal import Validator
from gemmalock.lockfile import LockedFile
from gemmalock.ports import Answer, Ask
from gemmalock.transfer.combine import clash, telling
from gemmalock.transfer.work import Work


def ask_for(work: Work, url: str, gap: tuple[int, int]) -> Ask:
    """The request for a gap to one of the file's URLs: conditional on bytes of the server that it answers from, where
    there are any."""
    file = work.file
    validator = work.ranges.validator_before(gap[0], work.givers.origin_of(url))
    return Ask(
        url=url,
        start=gap[0],
        end=gap[1],
        size=file.size,
        etag=file.etag if url == file.url else None,
        validator=validator.etag if validator else None,
        validator_origin=validator.origin if validator else None,
        proven=file.sha256 is not None,
    )


def validator_of(file: LockedFile, url: str, answer: Answer) -> Validator:
    """What the bytes of an answer to a request for `url` come under."""
    return telling(file, Validator(answer.etag, answer.origin), url)


def refuse_what_does_not_fit(work: Work, url: str, answer: Answer, start: int) -> None:
    """Raise RangeRefused when an answer does not begin at `start`, or may not be joined to what is here."""
    if answer.start != start:
        raise RangeRefused(f"the source sent bytes from {answer.start} on, those from {start} on were asked for")
    if why := clash(work.file, work.ranges.validators, validator_of(work.file, url, answer)):
        raise RangeRefused(why)
