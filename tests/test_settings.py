"""Settings: a flag over its environment twin over a settings file, every value checked, all problems at once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemmalock.errors import SettingInvalid
from gemmalock.settings import PREFIX, Settings, addopts_in, flags_in, load, load_settings
from gemmalock.settings.said import said_in_files
from gemmalock.settings.times import read_moment, read_span
from gemmalock.settings.values import read_amount

#: Every setting with a value as a file, the environment and a flag may give it, and what it then is.
VALUES: Mapping[str, tuple[str, str, object, object]] = {
    # name: (TOML, environment, flag, value)
    "store": ('"/srv/store"', "/srv/store", "/srv/store", "/srv/store"),
    "jobs": ("7", "7", "7", 7),
    "connections": ("2", "2", 2, 2),
    "limit_rate": ('"20M"', "20M", "20M", 20_000_000),
    "link_mode": ('"copy"', "copy", "copy", "copy"),
    "offline": ("true", "1", True, True),
    "no_adopt_caches": ("true", "1", True, True),
    "require_digests": ("true", "yes", True, True),
    "allow_http": ("true", "on", True, True),
    "allowed_hosts": ('["a.example", "b.example"]', "a.example,b.example", ["a.example", "b.example"],
                      ("a.example", "b.example")),
    "max_delete": ("0", "0", 0, 0),
    "keep": ('["*.txt"]', "*.txt", ("*.txt",), ("*.txt",)),
    "trash_days": ("30", "30", 30, 30),
    "timeout": ("5", "5", 5, 5),
    "retries": ("0", "0", 0, 0),
    "rewrite": ('{"https://a.example/" = "https://m.example/a/"}', "https://a.example/=https://m.example/a/",
                {"https://a.example/": "https://m.example/a/"}, (("https://a.example/", "https://m.example/a/"),)),
    "auth": ('{"https://A.example:443/" = "A_TOKEN"}', "https://a.example=A_TOKEN", {"https://a.example": "A_TOKEN"},
             (("https://a.example", "A_TOKEN"),)),
    "plugin": ('["no:a", "b"]', "no:a b", ("no:a", "b"), ("no:a", "b")),
    "exclude_newer": ("2026-11-01", "2026-11-01", "2026-11-01T23:59:59.999999Z",
                      datetime(2026, 11, 1, 23, 59, 59, 999999, UTC)),
    "minimum_age": ('"2w"', "14d", "336h", 14 * 86400),
}  # fmt: skip
NAMES = sorted(VALUES)


def toml_name(name: str) -> str:
    """The name as files write it."""
    return name.replace("_", "-")


def test_the_table_of_this_test_has_every_setting() -> None:
    assert set(VALUES) == {field.name for field in fields(Settings)}


def test_without_anything_every_setting_has_its_default(tmp_path: Path) -> None:
    assert load_settings(tmp_path, {}, {}) == Settings()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("file", ["gemmalock.toml", "pyproject.toml"])
def test_every_setting_has_a_home_in_a_file(tmp_path: Path, name: str, file: str) -> None:
    toml, _, _, value = VALUES[name]
    head = "[tool.gemmalock]\n" if file == "pyproject.toml" else ""
    (tmp_path / file).write_text(f"{head}{toml_name(name)} = {toml}\n")
    assert getattr(load_settings(tmp_path, {}, {}), name) == value


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_has_an_environment_twin(tmp_path: Path, name: str) -> None:
    _, text, _, value = VALUES[name]
    assert getattr(load_settings(tmp_path, {PREFIX + name.upper(): text}, {}), name) == value


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_can_be_given_for_one_run(tmp_path: Path, name: str) -> None:
    _, _, flag, value = VALUES[name]
    assert getattr(load_settings(tmp_path, {}, {name: flag}), name) == value


@pytest.mark.parametrize(
    ("files", "environment", "flag", "jobs"),
    [
        ({"pyproject.toml": 2}, None, None, 2),
        ({"pyproject.toml": 2, "gemmalock.toml": 3}, None, None, 3),
        ({"gemmalock.toml": 3}, "5", None, 5),
        ({"gemmalock.toml": 3}, "5", "9", 9),
        ({}, "5", "9", 9),
        ({"gemmalock.toml": 3}, "", None, 3),
        ({}, None, None, Settings().jobs),
    ],
)
def test_a_flag_outweighs_the_environment_and_that_a_file(
    tmp_path: Path, files: Mapping[str, int], environment: str | None, flag: str | None, jobs: int
) -> None:
    for name, number in files.items():
        head = "[tool.gemmalock]\n" if name == "pyproject.toml" else ""
        (tmp_path / name).write_text(f"{head}jobs = {number}\n")
    environ = {} if environment is None else {"GEMMALOCK_JOBS": environment}
    assert load_settings(tmp_path, environ, {"jobs": flag}).jobs == jobs


@pytest.mark.parametrize(
    "text",
    [
        "[tool]\ngemmalock = { jobs = 2 }\n",
        "tool.gemmalock.jobs = 2\n",
        '[tool . "gemmalock"]\njobs = 2\n',
        "[project]\nname = 'x'\n[tool.gemmalock]\njobs = 2\n[tool.other]\njobs = 5\n",
    ],
)
def test_the_table_of_pyproject_is_found_however_toml_lets_it_be_written(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    assert load_settings(tmp_path, {}, {}).jobs == 2


def test_a_pyproject_of_others_is_not_our_business(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("this is [not TOML\n[tool.other]\njobs = 0\n")
    assert load_settings(tmp_path, {}, {}) == Settings()


BAD = [
    ("store", 5, "must be a path"),
    ("store", [], "must be a path"),
    ("jobs", "0", "at least 1"),
    ("jobs", "-3", "at least 1"),
    ("jobs", "many", "at least 1"),
    ("jobs", "", "at least 1"),
    ("jobs", "2.5", "at least 1"),
    ("jobs", True, "at least 1"),
    ("jobs", 2.5, "at least 1"),
    ("jobs", [2], "at least 1"),
    ("jobs", "9" * 5000, "at least 1"),
    ("connections", 0, "at least 1"),
    ("limit_rate", "fast", "such as `20M`"),
    ("limit_rate", "20X", "such as `20M`"),
    ("limit_rate", -1, "such as `20M`"),
    ("limit_rate", 1.5, "such as `20M`"),
    ("limit_rate", True, "such as `20M`"),
    ("limit_rate", "0", "at least 1"),
    ("limit_rate", "0.2", "at least 1"),
    ("limit_rate", "9" * 400, "such as `20M`"),
    ("link_mode", "teleport", "must be one of auto, reflink, hardlink, symlink, copy"),
    ("link_mode", ["copy"], "must be one of"),
    ("offline", "maybe", "true or false"),
    ("offline", 1, "true or false"),
    ("require_digests", "perhaps", "true or false"),
    ("allow_http", 0, "true or false"),
    ("allowed_hosts", 7, "list of strings"),
    ("allowed_hosts", [7], "list of strings"),
    ("keep", {"a": 1}, "list of strings"),
    ("max_delete", -1, "at least 0"),
    ("trash_days", "-1", "at least 0"),
    ("timeout", 0, "at least 1"),
    ("retries", "x", "at least 0"),
    ("rewrite", 5, "must be a table"),
    ("rewrite", "https://a.example", "must be a table, or `URL PREFIX=URL PREFIX`"),
    ("rewrite", {"https://a.example": 5}, "leads `https://a.example` to int"),
    ("rewrite", {"a.example": "https://b.example"}, "leads from a URL that cannot be: `a.example` has no scheme"),
    ("rewrite", {"https://a.example": "b.example/"}, "leads to a URL that cannot be: `b.example/` has no scheme"),
    ("rewrite", {"https://": "https://b.example"}, "leads from a URL that cannot be: the URL has no host"),
    ("rewrite", {"hf://a": "https://b.example"}, "`hf://` is not a scheme that is known"),
    ("rewrite", {"https://a.example": "file:///b"}, "`file://` is not a scheme that is known"),
    ("rewrite", {"https://a.example/?x": "https://b.example"}, "leads from a URL with a query"),
    ("rewrite", {"https://a.example": "https://b.example/#x"}, "fragment"),
    ("rewrite", {"https://a.example": "https://me:s3cret@b.example/"}, "has credentials in it"),
    ("rewrite", {"https://a.example/": "https://b.example", "https://A.example:443": "https://c.example"}, "twice"),
    ("auth", True, "must be a table"),
    ("auth", {"https://a.example/x": "TOKEN"}, "which is more than an origin"),
    ("auth", {"https://*.example": "TOKEN"}, "has `https://*.example`: an origin has no wildcard"),
    ("auth", {"a.example": "TOKEN"}, "has no scheme"),
    ("rewrite", {"https://*.example/x": "https://a.example"}, "leads from a pattern of hosts"),
    ("rewrite", {"https://a.example": "https://*.example"}, "leads to a pattern of hosts"),
    ("auth", {"http://a.example": "TOKEN"}, "a credential goes over https only"),
    ("auth", {"https://a.example": "hf_s3cretS3cret"}, "must be the name of an environment variable, in capitals"),
    ("auth", {"https://a.example": ["TOKEN"]}, "must be the name of an environment variable, in capitals"),
    ("auth", {"https://me:s3cret@a.example": "TOKEN"}, "has credentials in it"),
    ("auth", {"https://a.example": "A", "https://A.example/": "B"}, "has `https://a.example` twice"),
    ("plugin", "no:", "`no:NAME`"),
    ("exclude_newer", "yesterday", "must be a date such as `2026-11-01`"),
    ("exclude_newer", "2026-11", "must be a date such as `2026-11-01`"),
    ("exclude_newer", "2026-11-01T12:00:00", "must be a date such as `2026-11-01`"),
    ("exclude_newer", "2026-02-30", "must be a date that there is"),
    ("exclude_newer", "2026-02-28T25:00:00Z", "must be a date that there is"),
    ("exclude_newer", "0001-01-01T00:00:00+12:00", "must be a date that there is"),
    ("exclude_newer", datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5))), "must be a date that there is"),
    ("exclude_newer", datetime(2026, 11, 1), "must say its offset from UTC, as `2026-11-01T00:00:00Z`"),
    ("exclude_newer", 20261101, "must be a date such as `2026-11-01`"),
    ("minimum_age", "7", "must be a span of time such as `7d`"),
    ("minimum_age", "-7d", "must be a span of time such as `7d`"),
    ("minimum_age", "1.5d", "must be a span of time such as `7d`"),
    ("minimum_age", "9999999d", "must be a span of time such as `7d`"),
    ("minimum_age", 7, "must be a span of time such as `7d`"),
]


@pytest.mark.parametrize(("name", "value", "says"), BAD)
def test_a_value_that_cannot_be_is_named_with_its_setting(tmp_path: Path, name: str, value: object, says: str) -> None:
    with pytest.raises(SettingInvalid) as caught:
        load_settings(tmp_path, {}, {name: value})
    (problem,) = caught.value.problems
    assert problem.path == f"--{toml_name(name)}"
    assert f"`{toml_name(name)}`" in problem.message
    assert says in problem.message
    assert "s3cret" not in str(problem) + problem.hint
    assert caught.value.exit_code == 4


def test_every_wrong_key_of_a_table_is_told_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        "[tool.gemmalock.rewrite]\n'https://a.example' = 'https://b.example'\n'c.example' = 'https://d.example'\n"
        "[tool.gemmalock]\nauth = { 'https://a.example' = 'OK', 'https://e.example/x' = 'token' }\n"
    )
    with pytest.raises(SettingInvalid) as caught:
        load_settings(tmp_path, {}, {})
    assert [str(problem).partition(": `")[0] for problem in caught.value.problems] == [
        "pyproject.toml:3:1", "pyproject.toml:5:38", "pyproject.toml:5:38",
    ]  # fmt: skip


def test_a_credential_of_this_machine_may_go_over_plain_http(tmp_path: Path) -> None:
    assert load_settings(tmp_path, {}, {"auth": {"http://localhost:8080": "A"}}).auth == (
        ("http://localhost:8080", "A"),
    )


@pytest.mark.parametrize("name", ["HF_TOKEN", "GITHUB_TOKEN", "GH_TOKEN"])
def test_a_file_of_a_project_sends_no_token_of_a_service_elsewhere(tmp_path: Path, name: str) -> None:
    (tmp_path / "gemmalock.toml").write_text(f'jobs = 4\nauth = {{ "https://evil.example" = "{name}" }}\n')
    with pytest.raises(SettingInvalid) as caught:
        load_settings(tmp_path, {}, {})
    (problem,) = caught.value.problems
    assert (problem.path, problem.line, problem.column) == ("gemmalock.toml", 2, 10)
    assert f"`auth` sends `{name}` to `https://evil.example`" in problem.message
    assert "GEMMALOCK_AUTH" in problem.hint
    # Its owner may send it where it is to go.
    (tmp_path / "gemmalock.toml").unlink()
    assert load_settings(tmp_path, {"GEMMALOCK_AUTH": f"https://evil.example={name}"}, {}).auth


def test_a_file_may_name_the_token_of_a_service_for_that_service(tmp_path: Path) -> None:
    (tmp_path / "gemmalock.toml").write_text(
        '[auth]\n"https://huggingface.co" = "HF_TOKEN"\n"http://127.0.0.1:9" = "GH_TOKEN"\n'
    )
    assert len(load_settings(tmp_path, {}, {}).auth) == 2


def test_every_problem_of_every_place_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.gemmalock]\njobs = 0\n")
    (tmp_path / "gemmalock.toml").write_text("ofline = true\ntimeout = 'soon'\n")
    with pytest.raises(SettingInvalid) as caught:
        load_settings(tmp_path, {"GEMMALOCK_RETRIES": "x"}, {"link_mode": "glue"})
    assert [str(problem).partition(": ")[0] for problem in caught.value.problems] == [
        "pyproject.toml:2:1", "gemmalock.toml:1:1", "gemmalock.toml:2:1", "GEMMALOCK_RETRIES", "--link-mode",
    ]  # fmt: skip


def test_a_problem_says_where_in_the_file_its_key_is(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\njobs = 1\n[tool]\n  gemmalock = {retries = 1, jobs = 0}\n")
    (tmp_path / "gemmalock.toml").write_text("# jobs\n\n 'link-mode' = 'glue'\n[rewrit]\na = 1\n")
    with pytest.raises(SettingInvalid) as caught:
        load_settings(tmp_path, {}, {})
    assert [str(problem) for problem in caught.value.problems] == [
        "pyproject.toml:4:29: `jobs` must be a whole number of at least 1, not `0`",
        "gemmalock.toml:3:2: `link-mode` must be one of auto, reflink, hardlink, symlink, copy, not `glue`",
        "gemmalock.toml:4:2: unknown setting `rewrit`",
    ]


def test_two_files_that_are_broken_are_both_told(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.gemmalock]\njobs = 1\njobs = 2\n")
    (tmp_path / "gemmalock.toml").write_text("offline = [\n")
    with pytest.raises(SettingInvalid) as caught:
        load_settings(tmp_path, {"GEMMALOCK_JOBS": "0"}, {})
    assert [str(problem) for problem in caught.value.problems] == [
        "pyproject.toml:3:9: is not TOML: cannot overwrite a value",
        "gemmalock.toml:2:1: is not TOML: invalid value",
        "GEMMALOCK_JOBS: `jobs` must be a whole number of at least 1, not `0`",
    ]


def test_every_value_is_known_with_where_it_was_said_and_the_weightiest_counts(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.gemmalock]\n\njobs = 2\n")
    (tmp_path / "gemmalock.toml").write_text("jobs = 3\ndry-run = true\n")
    loaded = load(tmp_path, {"GEMMALOCK_JOBS": "5", "GEMMALOCK_CHECK": "1"}, {"jobs": 9, "offline": None}, ["check"])
    assert {name: [said.origin for said in all_said] for name, all_said in loaded.said.items()} == {
        "jobs": ["pyproject.toml:3", "gemmalock.toml:1", "environment GEMMALOCK_JOBS", "flag --jobs"],
        "dry_run": ["gemmalock.toml:2"],
        "check": ["environment GEMMALOCK_CHECK"],
    }
    assert loaded.settings == Settings(jobs=9)


def test_one_setting_in_two_spellings_is_said_twice(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.gemmalock]\nlink_mode = 'copy'\n")
    (tmp_path / "gemmalock.toml").write_text("link-mode = 'copy'\nlink_mode = 'symlink'\n")
    with pytest.raises(SettingInvalid, match=r"gemmalock\.toml:2:1: `link-mode` is said twice in this file"):
        load_settings(tmp_path, {}, {})


def test_what_cannot_be_is_left_out_of_what_is_known(tmp_path: Path) -> None:
    (tmp_path / "gemmalock.toml").write_text("jobs = 3\n")
    loaded = load(tmp_path, {"GEMMALOCK_JOBS": "many"}, {})
    assert loaded.settings == Settings(jobs=3)
    assert [problem.path for problem in loaded.problems] == ["GEMMALOCK_JOBS"]


@pytest.mark.parametrize(
    ("key", "hint"), [("ofline", "did you mean `offline`?"), ("require-digest", "`require-digests`?"), ("xyzzy", "")]
)
def test_an_unknown_key_is_an_error_that_says_what_was_meant(tmp_path: Path, key: str, hint: str) -> None:
    (tmp_path / "gemmalock.toml").write_text(f"{key} = true\n")
    with pytest.raises(SettingInvalid) as caught:
        load_settings(tmp_path, {}, {})
    (problem,) = caught.value.problems
    assert f"unknown setting `{key}`" in problem.message
    assert hint in problem.hint


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("", {}),
        ("jobs = 2\n", {}),
        ("dry-run = true\n", {"dry_run": True}),
        ("check = false\nupgrade-model = ['a', 'b']\n", {"check": False, "upgrade_model": ("a", "b")}),
        ("color = 'never'\nprogress = 'json'\nverbose = 2\n", {"color": "never", "progress": "json", "verbose": 2}),
        ("color = 'mauve'\ncheck = 'maybe'\njson = true\n", {"json": True}),
    ],
)
def test_flags_that_are_no_settings_have_a_home_in_the_file_too(
    tmp_path: Path, text: str, flags: Mapping[str, object]
) -> None:
    (tmp_path / "gemmalock.toml").write_text(text)
    assert flags_in(said_in_files(tmp_path)[0]) == flags


def test_a_flag_in_a_file_that_cannot_be_is_told_with_the_settings(tmp_path: Path) -> None:
    (tmp_path / "gemmalock.toml").write_text(
        "color = 'mauve'\ncheck = 'maybe'\ndry-run = true\njobs = 0\nverfy = true\n"
    )
    with pytest.raises(SettingInvalid) as caught:
        load_settings(tmp_path, {}, {})
    assert [problem.message.split("`")[1] for problem in caught.value.problems] == ["color", "check", "jobs", "verfy"]
    assert caught.value.problems[-1].hint == "did you mean `verify`?"


@pytest.mark.parametrize(
    ("files", "environment", "words"),
    [
        ({}, None, []),
        ({}, "", []),
        ({"gemmalock.toml": "'-x  --jobs 3'"}, None, [("-x", "--jobs", "3")]),
        ({"gemmalock.toml": "['-x', '-k', 'a b']"}, None, [("-x", "-k", "a b")]),
        ({"gemmalock.toml": "\"-k 'a b' --color=never\""}, None, [("-k", "a b", "--color=never")]),
        ({"gemmalock.toml": "'-x'"}, "-v -v", [("-x",), ("-v", "-v")]),
        ({"pyproject.toml": "'-x'", "gemmalock.toml": "'-v'"}, None, [("-v",)]),
        ({"pyproject.toml": "'-x'"}, "-k 'a", [("-x",)]),
    ],
)
def test_addopts_is_split_as_a_shell_does_and_the_environment_adds_to_the_file(
    tmp_path: Path, files: Mapping[str, str], environment: str | None, words: list[tuple[str, ...]]
) -> None:
    for name, value in files.items():
        head = "[tool.gemmalock]\n" if name == "pyproject.toml" else ""
        (tmp_path / name).write_text(f"{head}addopts = {value}\n")
    environ = {} if environment is None else {"GEMMALOCK_ADDOPTS": environment}
    assert [said for _, said in addopts_in(said_in_files(tmp_path)[0], environ)] == words


def test_addopts_that_cannot_be_are_told_with_the_settings(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.gemmalock]\naddopts = 5\njobs = 0\n")
    (tmp_path / "gemmalock.toml").write_text('addopts = "-k \'a"\n')
    with pytest.raises(SettingInvalid) as caught:
        load_settings(tmp_path, {"GEMMALOCK_ADDOPTS": '-k "'}, {})
    assert [str(problem) for problem in caught.value.problems] == [
        "pyproject.toml:2:1: `addopts` must be a list of strings, not 5",
        "pyproject.toml:3:1: `jobs` must be a whole number of at least 1, not `0`",
        "gemmalock.toml:1:1: `addopts` cannot be split as a shell does: no closing quotation",
        "GEMMALOCK_ADDOPTS: `addopts` cannot be split as a shell does: no closing quotation",
    ]


def test_a_foreign_variable_is_no_unknown_key(tmp_path: Path) -> None:
    assert load_settings(tmp_path, {"GEMMALOCK_TESTS_SEED": "1", "GEMMALOCK_XYZ": "1"}, {}) == Settings()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"jobs = \n", "gemmalock.toml:1:8: is not TOML: invalid value"),
        (b"\xff\xfe\n", "gemmalock.toml: cannot be read: "),
        (b"jobs = " + b"9" * 5000, "gemmalock.toml"),
        (b"keep = " + b"[" * 100_000, "gemmalock.toml"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "gemmalock.toml").write_bytes(content)
    with pytest.raises(SettingInvalid) as caught:
        load_settings(tmp_path, {}, {})
    assert says in str(caught.value) + "".join(str(problem) for problem in caught.value.problems)


def test_a_settings_file_that_is_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "gemmalock.toml").mkdir()
    with pytest.raises(SettingInvalid, match=r"gemmalock\.toml: cannot be read: Is a directory"):
        load_settings(tmp_path, {}, {})


def test_a_tool_table_that_is_no_table_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool]\ngemmalock = 5\n")
    with pytest.raises(SettingInvalid, match="table"):
        load_settings(tmp_path, {}, {})


@pytest.mark.parametrize(
    ("written", "place"), [("cache/store", "{folder}/cache/store"), ("/srv/store", "/srv/store"), ("~/s", "~/s")]
)
def test_a_relative_store_in_a_file_starts_at_that_file(tmp_path: Path, written: str, place: str) -> None:
    (tmp_path / "gemmalock.toml").write_text(f'store = "{written}"\n')
    assert load_settings(tmp_path, {}, {}).store == place.format(folder=tmp_path)


def test_allowed_hosts_are_hosts_in_any_case(tmp_path: Path) -> None:
    assert load_settings(tmp_path, {}, {"allowed_hosts": "Models.Example.ORG"}).allowed_hosts == ("models.example.org",)


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("0", 0), ("1024", 1024), (1024, 1024), ("20M", 20 * 10**6), ("20m", 20 * 10**6), ("20MB", 20 * 10**6),
        ("20MiB", 20 * 2**20), ("4Ki", 4096), ("1.5G", 15 * 10**8), ("50G", 50 * 10**9), ("1T", 10**12),
        ("1TiB", 2**40), (" 3 k ", 3000), ("20M/s", 20 * 10**6),
    ],
)  # fmt: skip
def test_an_amount_is_read_as_people_write_it(text: object, amount: int) -> None:
    assert read_amount(text) == amount


@given(st.text(max_size=40) | st.integers() | st.floats() | st.booleans() | st.none() | st.text("0123456789.kMiB/s"))
def test_an_amount_is_a_number_of_bytes_or_a_value_error(value: object) -> None:
    try:
        amount = read_amount(value)
    except ValueError:
        return
    assert amount >= 0


@given(st.dictionaries(st.sampled_from(NAMES), st.text(max_size=12) | st.integers() | st.booleans() | st.none()))
def test_any_flags_are_settings_or_a_setting_error(flags: Mapping[str, object]) -> None:
    try:
        loaded = load_settings(Path("/nonexistent"), {}, flags)
    except SettingInvalid as error:
        assert error.problems
    else:
        assert loaded.jobs >= 1
        assert loaded.timeout >= 1


# --- how new what is locked may be -------------------------------------------------------------------------

END_OF_DAY = datetime(2026, 11, 1, 23, 59, 59, 999999, UTC)
MOMENTS: list[tuple[object, datetime]] = [
    ("2026-11-01", END_OF_DAY),
    (" 2026-11-01 ", END_OF_DAY),
    (date(2026, 11, 1), END_OF_DAY),
    ("2026-11-01T12:30:00Z", datetime(2026, 11, 1, 12, 30, tzinfo=UTC)),
    ("2026-11-01t12:30:00z", datetime(2026, 11, 1, 12, 30, tzinfo=UTC)),
    ("2026-11-01 12:30:00+02:00", datetime(2026, 11, 1, 10, 30, tzinfo=UTC)),
    ("2026-11-01T23:30:00-05:00", datetime(2026, 11, 2, 4, 30, tzinfo=UTC)),
    ("2026-11-01T12:30:00.123456789Z", datetime(2026, 11, 1, 12, 30, 0, 123456, UTC)),
    (datetime(2026, 11, 1, 12, 30, tzinfo=UTC), datetime(2026, 11, 1, 12, 30, tzinfo=UTC)),
]


@pytest.mark.parametrize(("value", "moment"), MOMENTS)
def test_a_date_is_all_of_that_day_in_utc_and_a_time_is_that_time(
    value: object, moment: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    try:
        assert read_moment(value) == moment
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()


def test_a_toml_file_may_have_a_date_or_a_time_of_its_own(tmp_path: Path) -> None:
    for text, moment in (
        ("2026-11-01", END_OF_DAY),
        ("2026-11-01T12:30:00+02:00", datetime(2026, 11, 1, 10, 30, tzinfo=UTC)),
    ):
        (tmp_path / "gemmalock.toml").write_text(f"exclude-newer = {text}\n")
        assert load_settings(tmp_path, {}, {}).exclude_newer == moment


@pytest.mark.parametrize(
    ("text", "seconds"), [("0d", 0), ("90s", 90), ("5m", 300), ("36h", 129600), ("7d", 604800), ("2 W", 1209600)]
)
def test_an_age_is_a_number_with_its_unit(text: str, seconds: int) -> None:
    assert read_span(text) == seconds


NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("until", "age", "newest"),
    [
        (None, None, None),
        (END_OF_DAY, None, END_OF_DAY),
        (None, 86400, NOW - timedelta(days=1)),
        (None, 0, NOW),
        (END_OF_DAY, 86400, END_OF_DAY),
        (END_OF_DAY, 30 * 86400, NOW - timedelta(days=30)),
        (END_OF_DAY, 999_999 * 604_800, datetime.min.replace(tzinfo=UTC)),
    ],
)
def test_the_earlier_of_both_limits_counts(until: datetime | None, age: int | None, newest: datetime | None) -> None:
    assert Settings(exclude_newer=until, minimum_age=age).newest(NOW) == newest


@pytest.mark.parametrize(
    ("environ", "flags", "offline", "origin"),
    [
        ({"HF_HUB_OFFLINE": "1"}, {}, True, "environment HF_HUB_OFFLINE"),
        ({"HF_HUB_OFFLINE": "yes"}, {}, True, "environment HF_HUB_OFFLINE"),
        ({"HF_HUB_OFFLINE": "ON"}, {}, True, "environment HF_HUB_OFFLINE"),
        ({"HF_HUB_OFFLINE": "0"}, {}, False, "gemmalock.toml:1"),
        ({"HF_HUB_OFFLINE": ""}, {}, False, "gemmalock.toml:1"),
        ({"HF_HUB_OFFLINE": "whatever"}, {}, False, "gemmalock.toml:1"),
        ({"HF_HUB_OFFLINE": "1", "GEMMALOCK_OFFLINE": "0"}, {}, False, "environment GEMMALOCK_OFFLINE"),
        ({"HF_HUB_OFFLINE": "1"}, {"offline": False}, False, "flag --offline"),
    ],
)
def test_the_hubs_own_word_for_offline_is_one(
    tmp_path: Path, environ: dict[str, str], flags: dict[str, object], offline: bool, origin: str
) -> None:
    (tmp_path / "gemmalock.toml").write_text("offline = false\n")
    loaded = load(tmp_path, environ, flags)
    assert (loaded.settings.offline, loaded.said["offline"][-1].origin) == (offline, origin)
