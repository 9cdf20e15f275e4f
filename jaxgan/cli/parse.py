"""Command lines to dataclasses through tyro, with errors of one line."""

import contextlib
import dataclasses
import io
from collections.abc import Iterator
from typing import Any, TypeVar

import tyro

from jaxgan.errors import UserError, nearest

T = TypeVar("T")


def parse(kind: type[T], argv: list[str], *, prog: str, description: str) -> T:
    """Parses `argv` into the dataclass `kind`; prints help and exits where asked to.

    Raises:
        UserError: an option that does not exist, with the nearest one; a value of the wrong type.
    """
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            result, unknown = tyro.cli(
                kind,
                args=argv,
                prog=prog,
                description=description,
                return_unknown_args=True,
            )
    except SystemExit as exit_:
        if exit_.code == 0:
            raise
        raise UserError(_unboxed(complaint.getvalue())) from None
    if unknown:
        options = [word for word in unknown if word.startswith("-")]
        if not options:
            raise UserError(f"unexpected argument {unknown[0]!r}; see {prog} --help")
        name = options[0].partition("=")[0]
        near = nearest(name, _options(kind, result), hint=f"; see {prog} --help")
        raise UserError(f"unknown option {name}{near}")
    return result


def take_target(argv: list[str], command: str, what: str) -> tuple[str, list[str]]:
    """Splits off the positional argument that comes first; `--help` alone prints the usage.

    Raises:
        UserError: there is none.
    """
    usage = f"usage: jaxgan {command} {what} [options]"
    if argv and argv[0] in ("-h", "--help"):
        print(f"{usage}\n\n`jaxgan {command} {what} --help` lists the options and their defaults.")
        raise SystemExit(0)
    if not argv or argv[0].startswith("-"):
        raise UserError(f"no {what} given; {usage}")
    return argv[0], argv[1:]


def _unboxed(text: str) -> str:
    """The message in tyro's box, which ends where the help of the option begins."""
    words = []
    for line in text.splitlines()[1:]:
        line = line.strip("│ ")
        if line.startswith(("─", "╰")):
            break
        words.append(line)
    return " ".join(words)


def _options(kind: Any, value: Any, prefix: str = "--") -> Iterator[str]:
    """Names of the options of a dataclass, aliases included."""
    hints = getattr(kind, "__annotations__", {})
    for field in dataclasses.fields(value):
        inner = getattr(value, field.name)
        marks = getattr(hints.get(field.name), "__metadata__", ())
        if any(getattr(mark, "name", None) == "" for mark in marks):
            yield from _options(type(inner), inner, prefix)
        elif dataclasses.is_dataclass(inner):
            yield from _options(type(inner), inner, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name.replace('_', '-')}"
            for mark in marks:
                yield from getattr(mark, "aliases", None) or ()
