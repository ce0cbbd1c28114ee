"""`addopts`: flags that a settings file or the environment puts before those that are typed, as pytest does it.

A command takes of them what it has; one that no command has is an error. What is wrong is noted in the state: commands
that need no setting are not kept from their work.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import click

from gemmalock.cli.state import TYPED, State
from gemmalock.errors import Problem
from gemmalock.settings import check_setting
from gemmalock.settings.said import Said

#: Who says `addopts`, and its words.
Addopts = tuple[Said, tuple[str, ...]]

#: They end the program, or say where the file is that has the `addopts`.
_NO_PLACE = frozenset({"-h", "--help", "--version", "-C", "--directory"})


def with_addopts(context: click.Context, said: Iterable[Addopts], typed: list[str], given: Container[str]) -> list[str]:
    """The words that were typed behind the command of `context`, with its flags in `said` put before them; `given`:
    the flags among those that were typed."""
    state = context.find_object(State)
    assert state is not None
    reader = _Reader(context)
    added = [each for by, words in said for each in reader.read(by, words)]
    state.note(reader.problems)
    kept = [each for each in added if each.option in context.command.params and not _is_outweighed(state, each.option)]
    state.added |= {str(each.option.name): each.origin for each in kept if each.option.name not in given}
    return [*(word for each in kept for word in each.words), *typed]


def _is_outweighed(state: State, option: click.Option) -> bool:
    """Whether a global flag was typed before the command: what is typed counts, wherever it stands."""
    return not option.count and state.weights.get(str(option.name)) == TYPED


@dataclass(frozen=True, slots=True)
class _Added:
    """One flag with its words, the value among them."""

    option: click.Option
    words: tuple[str, ...]
    said: Said

    @property
    def origin(self) -> str:
        """Where it was said."""
        return f"addopts in {self.said.origin}"


class _Reader:
    """Reads `addopts` for one command; `problems` has all that is wrong."""

    def __init__(self, context: click.Context) -> None:
        self.problems: list[Problem] = []
        self._context = context
        self._own = dict(_spelled(context.command))

    def read(self, said: Said, words: tuple[str, ...]) -> Iterator[_Added]:
        """The flags in `words`, those of other commands too."""
        rest = list(words)
        while rest:
            word = rest.pop(0)
            if word in ("-", "--") or not word.startswith("-"):
                self._wrong(said, f"`{word}` is no flag", "`addopts` has flags only, and no selectors or names")
            elif word.startswith("--"):
                name, equals, value = word.partition("=")
                yield from self._flag(said, name, value if equals else None, rest)
            else:
                yield from self._cluster(said, word[1:], rest)

    def _cluster(self, said: Said, letters: str, rest: list[str]) -> Iterator[_Added]:
        """Short flags in one word, as `-qj4`."""
        for place, letter in enumerate(letters, start=1):
            option = self._option(f"-{letter}")
            if option is not None and not _has_value(option):
                yield from self._flag(said, f"-{letter}", None, rest)
            else:
                yield from self._flag(said, f"-{letter}", letters[place:] or None, rest)
                return

    def _flag(self, said: Said, name: str, value: str | None, rest: list[str]) -> Iterator[_Added]:
        option = None if name in _NO_PLACE else self._option(name)
        if option is None:
            self._unknown(said, name)
            while rest and not rest[0].startswith("-"):
                # Its value, perhaps: nothing more is to be said of it.
                rest.pop(0)
        elif not _has_value(option):
            if value is None:
                yield _Added(option, (name,), said)
            else:
                self._wrong(said, f"`{name}` takes no value")
        elif value is None and not rest:
            self._wrong(said, f"`{name}` needs a value")
        else:
            text = rest.pop(0) if value is None else value
            if self._can_be(said, name, option, text):
                yield _Added(option, (name, text), said)

    def _can_be(self, said: Said, name: str, option: click.Option, value: str) -> bool:
        try:
            option.type(value, param=option, ctx=self._context)
            check_setting(str(option.name), value)
        except click.BadParameter as error:
            self._wrong(said, f"`{name}`: {error.message.rstrip('.')}")
        except ValueError as error:
            self._wrong(said, f"`{name}` {error}")
        else:
            return True
        return False

    def _option(self, name: str) -> click.Option | None:
        return self._own.get(name) or self._others.get(name)

    @cached_property
    def _others(self) -> Mapping[str, click.Option]:
        """The flags of all commands. They are loaded only where the command that runs does not have a flag."""
        return dict(_all_spelled(self._context.find_root()))

    def _unknown(self, said: Said, name: str) -> None:
        if name in _NO_PLACE:
            self._wrong(said, f"`{name}` has no place here", "give it on the command line")
            return
        import difflib

        close = difflib.get_close_matches(name, self._others, n=1)
        hint = f"did you mean `{close[0]}`?" if close else "`gemmalock COMMAND --help` lists the flags of a command"
        self._wrong(said, f"no command has the flag `{name}`", hint)

    def _wrong(self, said: Said, message: str, hint: str = "") -> None:
        problem = said.problem(f"`addopts`: {message}", hint)
        if problem not in self.problems:
            self.problems.append(problem)


def _spelled(command: click.Command) -> Iterator[tuple[str, click.Option]]:
    for option in command.params:
        if isinstance(option, click.Option):
            for name in (*option.opts, *option.secondary_opts):
                yield name, option


def _all_spelled(root: click.Context) -> Iterator[tuple[str, click.Option]]:
    groups = [root.command]
    for group in groups:
        assert isinstance(group, click.Group)
        for name in group.list_commands(root):
            command = group.get_command(root, name)
            if isinstance(command, click.Group):
                groups.append(command)
            elif command is not None:
                yield from _spelled(command)


def _has_value(option: click.Option) -> bool:
    return not (option.is_flag or option.count)
