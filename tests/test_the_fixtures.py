"""The fixtures keep every test at home: what `tests/conftest.py` and `tests/guard.py` promise, tried."""

from __future__ import annotations

import os
import pwd
import random
import socket
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.guard import CHECKOUT, WATCH, ForbiddenInTests, is_this_machine, watching
from tests.running import Gemmalock, Project, environment

REAL_HOME = Path(pwd.getpwuid(os.getuid()).pw_dir)
#: A documentation address (RFC 5737): should the guard fail, nobody is there.
ELSEWHERE = "192.0.2.1"

needs_a_real_home = pytest.mark.skipif(
    Path("/") == REAL_HOME or REAL_HOME.resolve() in {Path(place) for place in WATCH.allowed},
    reason="this user's home folder is `/`, or the checkout itself",
)


def test_every_test_has_a_home_of_its_own(house: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert Path.home() == house
    assert house.is_relative_to(tmp_path_factory.getbasetemp())
    assert list(house.iterdir()) == []


@pytest.mark.parametrize("variable", ["XDG_CACHE_HOME", "XDG_CONFIG_HOME", "GEMMALOCK_STORE", "HF_HOME"])
def test_folders_of_state_lie_in_that_home(house: Path, variable: str) -> None:
    assert Path(os.environ[variable]).is_relative_to(house)


@pytest.fixture
def _a_person_with_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands before `house` in the order of the next test, so that `house` has to clear it."""
    for name in ("HF_TOKEN", "https_proxy", "GEMMALOCK_JOBS", "GIT_DIR", "CI", "NO_COLOR", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "of-the-real-person")


class TestAPersonWithSecrets:
    @pytest.fixture(autouse=True)
    def house(self, _a_person_with_secrets: None, house: Path) -> Path:
        return house

    def test_has_none_of_them_in_a_test(self) -> None:
        assert [name for name, value in os.environ.items() if value == "of-the-real-person"] == []


@needs_a_real_home
@pytest.mark.parametrize(
    "touch",
    [
        lambda place: place.read_text(),
        lambda place: place.write_text("x"),
        lambda place: place.mkdir(),
        lambda place: place.unlink(),
        lambda place: place.rename(place.with_suffix(".new")),
        lambda place: Path("/tmp/elsewhere").rename(place),
        lambda place: os.open(place, os.O_RDONLY),
        lambda place: list(place.parent.iterdir()),
        lambda place: os.symlink("x", place),
    ],
)
def test_the_real_home_folder_raises(touch: Callable[[Path], object]) -> None:
    with pytest.raises(ForbiddenInTests, match="real home folder"):
        touch(REAL_HOME / ".no-such-file-of-gemmalock")


@needs_a_real_home
def test_a_relative_path_into_the_real_home_raises_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ForbiddenInTests):
        Path(os.path.relpath(REAL_HOME / ".netrc", tmp_path)).read_bytes()


def test_the_checkout_and_the_interpreter_may_be_read() -> None:
    assert (CHECKOUT / "pyproject.toml").read_text()
    assert Path(os.__file__).read_text()


@pytest.mark.parametrize(
    "leave",
    [
        lambda: socket.create_connection((ELSEWHERE, 80), timeout=1),
        lambda: socket.getaddrinfo("models.example.org", 443),
        lambda: socket.gethostbyname("models.example.org"),
        lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", (ELSEWHERE, 53)),
        lambda: socket.socket().connect_ex((ELSEWHERE, 80)),
        lambda: urllib.request.urlopen(f"http://{ELSEWHERE}/", timeout=1),
    ],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_any_host_but_loopback_raises(leave: Callable[[], object]) -> None:
    with pytest.raises(ForbiddenInTests, match="leaves this machine"):
        leave()


def test_a_thread_may_not_leave_either() -> None:
    caught: list[BaseException] = []

    def leave() -> None:
        try:
            socket.getaddrinfo("models.example.org", 443)
        except ForbiddenInTests as error:
            caught.append(error)

    thread = threading.Thread(target=leave)
    thread.start()
    thread.join()
    assert len(caught) == 1


def test_loopback_is_open() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname(), timeout=5) as client,
    ):
        assert client.getpeername() == server.getsockname()


@pytest.mark.parametrize(
    ("host", "is_it"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("hub.localhost", True),
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("169.254.169.254", False),
        ("10.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("localhost.example.org", False),
        ("example.org", False),
    ],
)
def test_what_this_machine_is(host: str, is_it: bool) -> None:
    assert is_this_machine(host, literal_is_fine=False) is is_it


def test_the_guard_stays_on_when_a_second_watch_ends() -> None:
    with watching():
        pass
    assert WATCH.on


def test_no_oserror_clause_can_swallow_the_guard() -> None:
    assert not issubclass(ForbiddenInTests, OSError)


def test_a_command_sees_the_home_of_the_test(gemmalock: Gemmalock, house: Path) -> None:
    probe = Gemmalock(gemmalock.folder, (*gemmalock.program[:1], "-c"))
    done = probe("import json, os, gemmalock.errors; print(json.dumps([os.environ['HOME'], os.getcwd()]))")
    assert done.code == 0, done.err
    assert done.json() == [str(house), str(gemmalock.folder)]


def test_added_variables_reach_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMMALOCK_JOBS", "1")
    assert environment({"GEMMALOCK_JOBS": "4"})["GEMMALOCK_JOBS"] == "4"


def test_a_project_holds_manifests_of_members_too(project: Project) -> None:
    project.write_manifest("version: 1\n")
    member = project.write_manifest("version: 1\n", member="apps/chat")
    assert project.manifest.is_file()
    assert member == project.folder / "apps" / "chat" / "gemmalock.yaml"
    assert member.read_text() == "version: 1\n"


def test_dice_fall_alike_for_one_seed_and_one_test(dice: random.Random, request: pytest.FixtureRequest) -> None:
    again = random.Random(f"{os.environ['GEMMALOCK_TESTS_SEED']} {request.node.nodeid}")
    assert [dice.random() for _ in range(3)] == [again.random() for _ in range(3)]
