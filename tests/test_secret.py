"""A secret shows itself to nobody by chance, and what is known of it is starred out wherever it comes back."""

from __future__ import annotations

import base64
import copy
import json
import pickle
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemmalock.errors import Busy, GemmalockError
from gemmalock.escaping import escaped, redacted, shown, shown_json
from gemmalock.secret import Secret, holds_secret, redacted_bytes, redacted_secrets
from gemmalock.sources.fields import quoted, shown_url

TOKEN = "hf_Distinct/ive+T0ken=é\"'\\"


@dataclass(frozen=True, slots=True)
class Held:
    value: Secret


@pytest.mark.parametrize("show", [str, repr, "{}".format, "{!r}".format, "{:>12}".format, "%s".__mod__, ascii])
def test_no_way_of_showing_it_shows_it(show: object) -> None:
    assert callable(show)
    assert TOKEN not in show(Secret(TOKEN))
    assert "Secret(***)" in show(Secret(TOKEN))
    assert TOKEN not in show(repr(Held(Secret(TOKEN))))


@pytest.mark.parametrize(
    "write", [pickle.dumps, json.dumps, copy.copy, copy.deepcopy, lambda held: asdict(Held(held)), vars]
)
def test_it_is_not_written_by_accident(write: object) -> None:
    assert callable(write)
    with pytest.raises(TypeError):
        write(Secret(TOKEN))


def test_it_is_equal_to_the_same_secret_and_to_no_string() -> None:
    assert Secret(TOKEN) == Secret(TOKEN)
    assert Secret(TOKEN) != Secret(TOKEN + "x")
    assert Secret(TOKEN) != TOKEN
    assert len({Secret(TOKEN), Secret(TOKEN)}) == 1
    assert Secret(TOKEN).reveal() == TOKEN


RAW = TOKEN.encode()
FORMS = {
    "as it is": TOKEN,
    "in capitals": TOKEN.upper(),
    "in a path": quote(TOKEN),
    "in a query": quote(TOKEN, safe=""),
    "percent-encoded in lower case": quote(TOKEN, safe="").lower(),
    "as JSON": json.dumps(TOKEN)[1:-1],
    "as a repr": repr(TOKEN)[1:-1],
    "in Base64": base64.b64encode(RAW).decode(),
    "in Base64 for URLs": base64.urlsafe_b64encode(RAW).decode(),
    "in Base64 without padding": base64.b64encode(RAW).decode().rstrip("="),
    "with one letter escaped": TOKEN.replace("D", "%44"),
    "with every letter escaped": "".join(f"%{byte:02x}" for byte in RAW),
    "escaped twice": quote(quote(TOKEN, safe=""), safe=""),
    "as JSON in ASCII": "".join(f"\\u{ord(letter):04x}" for letter in TOKEN),
    "with its bytes escaped": "".join(f"\\x{byte:02x}" for byte in RAW),
    "in hexadecimal": RAW.hex(),
}


@pytest.mark.parametrize("before", range(4))
@pytest.mark.parametrize("after", range(4))
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode], ids=lambda encode: encode.__name__)
def test_base64_is_starred_out_whatever_stands_around_the_secret(
    before: int, after: int, encode: Callable[[bytes], bytes]
) -> None:
    Secret(TOKEN)
    told = encode(b"x" * before + RAW + b"y" * after).decode()
    # What is left holds no whole letter of it.
    assert len(redacted_secrets(told).replace("***", "")) <= (before + after + 2) * 4 // 3 + 4


def test_a_secret_with_escaped_letters_is_starred_out_to_its_end() -> None:
    Secret("abcdefgh")
    Secret("abcdefgh-ijklmnop")
    assert redacted_secrets("x abcdefgh%2Dijklmnop y abcdefgh") == "x *** y ***"


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_every_form_that_it_may_come_back_in_is_starred_out(form: str) -> None:
    told = f"before {FORMS[form]} after"
    assert redacted_secrets(told) == told
    assert not holds_secret(told)
    Secret(TOKEN)
    assert redacted_secrets(told).rstrip("=").replace("***=", "***").startswith("before ***")
    assert redacted_secrets(told).endswith(" after")
    assert holds_secret(told)
    assert FORMS[form].rstrip("=") not in redacted_bytes(told.encode()).decode()


def test_what_is_too_short_to_be_a_secret_is_no_word_that_is_starred_out() -> None:
    Secret("models")
    Secret("")
    assert redacted_secrets("models in the folder models") == "models in the folder models"


def test_the_longer_of_two_secrets_is_starred_out_whole() -> None:
    Secret("abcdefgh")
    Secret("abcdefgh-ijklmnop")
    assert redacted_secrets("x abcdefgh-ijklmnop y abcdefgh z") == "x *** y *** z"


@pytest.mark.parametrize(
    "show", [escaped, redacted, shown, quoted, shown_url, shown_json, json.loads], ids=lambda show: show.__name__
)
def test_everything_that_is_shown_was_held_against_them(show: object) -> None:
    Secret("s3cretS3cret")
    assert callable(show)
    told = show(json.dumps("https://a.example/s3cretS3cret/x")) if show is not shown_url else show("a/s3cretS3cret")
    assert ("s3cretS3cret" in told) == (show is json.loads)


@pytest.mark.parametrize("place", range(0, 260, 13))
def test_cutting_a_text_leaves_no_piece_of_a_secret(place: int) -> None:
    Secret("s3cretS3cret" * 3)
    text = "." * place + "s3cretS3cret" * 3 + "." * (260 - place)
    assert "s3cret" not in quoted(text)
    assert "s3cret" not in shown(text)
    assert "s3cret" not in shown("." * 3990 + text)


def test_an_error_never_has_one_whenever_its_words_are_set() -> None:
    Secret("s3cretS3cret")
    error = Busy("held by s3cretS3cret", hint="ask s3cretS3cret")
    error.message += " and s3cretS3cret"
    error.add_note("tried s3cretS3cret")
    error.add_note("tried https://me:password@a.example/")
    told = (str(error), repr(error), error.message, error.hint, *error.notes, *map(str, error.args))
    assert not [text for text in told if "s3cret" in text or "password" in text]
    assert error.message == "held by *** and ***"
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, GemmalockError)
    assert again.message == error.message


@given(st.text(), st.text(min_size=8), st.text())
def test_whatever_a_secret_is_made_of_it_is_gone(before: str, value: str, after: str) -> None:
    Secret(value)
    assert value not in redacted_secrets(f"{before}{value}{after}").replace("***", "\0") or value in "\0" * 8


def test_bytes_that_are_no_text_stay_as_they_are() -> None:
    Secret("s3cretS3cret")
    assert redacted_bytes(b"\xff s3cretS3cret \x00\xfe") == b"\xff *** \x00\xfe"


def test_none_is_lost_where_many_are_learnt_at_once() -> None:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for turn in range(25):
            values = [f"secret-of-{turn}-and-{number}" for number in range(4)]
            together = threading.Barrier(len(values))
            learners = [threading.Thread(target=_learns, args=(together, value)) for value in values]
            for learner in learners:
                learner.start()
            for learner in learners:
                learner.join()
            assert [value for value in values if not holds_secret(value)] == []
    finally:
        sys.setswitchinterval(usual)


def _learns(together: threading.Barrier, value: str) -> None:
    together.wait()
    Secret(value)
