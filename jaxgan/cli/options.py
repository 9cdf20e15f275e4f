"""What a use takes, and its options, as options of the command line."""

import dataclasses
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from jaxgan import npz
from jaxgan.cli.parse import parse, take_target, trusts
from jaxgan.describe import WHENCE, uses
from jaxgan.errors import UserError
from jaxgan.fields import Field
from jaxgan.fields.pixels import extensions
from jaxgan.files import read_text
from jaxgan.run import Run
from jaxgan.run.folder import is_run
from jaxgan.system import use_of

_LARGEST = 2**24
"""Bytes of a file of lines."""


def with_use(base: type, run: Run, use: str, *, known: Iterable[str] = ()) -> type:
    """The dataclass `base` with an option for each thing that a use takes, and for its options.

    What it takes are words, ("a.png", "b.png"); None where it is not given. A name that `base` has
    for something else becomes `take_NAME`.

    Args:
        base: options of the command.
        run: whose use.
        use: its name.
        known: names for which `base` has an option already.

    Raises:
        UserError: the run has no such use.
    """
    static = use_of(run.system, use).options
    described = uses(run.system, run.resolution, run.about)[use]
    taken = {field.name for field in dataclasses.fields(base)}
    added: list[tuple[str, Any, Any]] = []
    for name, it in described["takes"].items():
        if name in known:
            continue
        whence = WHENCE[it["from"]]
        mark = tyro.conf.arg(
            help=f"{it['field']}; {whence}" if whence else it["field"],
            metavar="FILE|FOLDER|VALUE ...",
            help_behavior_hint="",
        )
        kind = Annotated[tuple[str, ...] | None, mark]
        added.append((_option(name, taken), kind, dataclasses.field(default=None)))
        if run.takes(use)[name].lines:
            mark = tyro.conf.arg(help=f"file of {name}s, one a line, in turn")
            lines = Annotated[Path | None, mark]
            added.append((_option(f"{name}s", taken), lines, dataclasses.field(default=None)))
    for field in dataclasses.fields(static) if static else ():
        if field.name not in known:
            mark = tyro.conf.arg(help=described["options"][field.name]["help"])
            value = dataclasses.field(default=getattr(static, field.name))
            added.append((_option(field.name, taken), Annotated[field.type, mark], value))  # type: ignore[valid-type]
    return dataclasses.make_dataclass("Options", added, bases=(base,), frozen=True, kw_only=True)


def parse_with_use(
    argv: list[str],
    command: str,
    base: type,
    use: str,
    check: Callable[[Run], None],
    *,
    description: str,
    known: Iterable[str] = (),
) -> tuple[str, Run, Any]:
    """The folder, the run and the options of a command that is about one use of a run.

    Args:
        argv: what was typed after the command.
        command: its name.
        base: its own options; those of the use are added (`with_use`).
        use: the use.
        check: refuses runs that the command is not for.
        description: of the command.
        known: as of `with_use`.

    Raises:
        UserError: no run, one that is refused, or options that cannot be.
    """
    folder, rest = take_target(argv, command, "RUN")
    run: Run | None = None
    kind = base
    if is_run(folder) or not {"-h", "--help"} & set(rest):
        run = Run(folder, trust_code=trusts(rest))
        check(run)
        kind = with_use(base, run, use, known=known)
    options: Any = parse(kind, rest, prog=f"jaxgan {command} {folder}", description=description)
    assert run is not None  # or --help has ended
    return folder, run, options


def only(
    options: Any, base: type, table: Mapping[str, Sequence[str]], chosen: Iterable[str]
) -> None:
    """Refuses options that go with what was not chosen.

    Args:
        options: that were parsed.
        base: their dataclass, whose defaults count as not given.
        table: names of options, and what they go with, as a person writes it.
        chosen: what was chosen, in the same words.

    Raises:
        UserError: names the first, and what it is for.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(base)}
    for name, owners in table.items():
        if not set(owners) & set(chosen) and getattr(options, name) != defaults[name]:
            raise UserError(
                f"--{name.replace('_', '-')} is for {' and '.join(owners)}: leave it out"
            )


def _option(name: str, taken: set[str]) -> str:
    return f"take_{name}" if name in taken else name


@dataclasses.dataclass(frozen=True)
class Given:
    """What a person gives a use.

    Attributes:
        items: by name, one for all rows or one for each: words and paths to be read, or arrays.
        options: of the use, those that are not the defaults.
        names: of the rows, where they are files; None otherwise.
        words: that the rows' files are called by, counted round, where several texts are given.
        folder: whether the rows are the files of a folder.
    """

    items: dict[str, Any]
    options: dict[str, Any]
    names: list[str] | None = None
    folder: bool = False
    words: tuple[str, ...] = ()

    @classmethod
    def of(cls, run: Run, use: str, parsed: Any, base: type) -> "Given":
        """What was parsed by the dataclass that `with_use` made of `base`.

        Raises:
            UserError: a file or folder that holds nothing to give.
        """
        static = use_of(run.system, use).options
        names = [field.name for field in dataclasses.fields(static)] if static else []
        taken = {field.name for field in dataclasses.fields(base)}

        def value(name: str) -> Any:
            return getattr(parsed, _option(name, taken), None)

        options = {
            name: value(name)
            for name in names
            if hasattr(parsed, _option(name, taken)) and value(name) != getattr(static, name)
        }
        takes = run.takes(use)
        words = {name: value(name) for name in takes if name not in names}
        for name, field in takes.items():
            if field.lines and (file := value(f"{name}s")) is not None:
                if words[name] is not None:
                    raise UserError(f"--{name} and --{name}s exclude each other: give one")
                words[name] = _lines(file, name)
        given = {name: each for name, each in words.items() if each is not None}
        if empty := next((name for name, each in given.items() if not each), None):
            option = _option(empty, taken).replace("_", "-")
            raise UserError(f"--{option} has no value: give {takes[empty].text()}, or leave it out")
        return cls.read(takes, given, options)

    @classmethod
    def read(
        cls,
        takes: Mapping[str, Field],
        words: Mapping[str, Sequence[str]],
        options: dict[str, Any],
    ) -> "Given":
        """Files of folders instead of the folders, arrays instead of .npz files."""
        items: dict[str, Any] = {}
        rows: list[str] = []
        folder = False
        called: tuple[str, ...] = ()
        for name, each in words.items():
            path = Path(os.path.expanduser(each[0]))  # pathlib's refuses what begins with a tilde
            if len(each) == 1 and path.suffix == ".npz":
                items[name] = _array(path, name)
                continue
            if len(each) == 1 and os.path.isdir(path) and not takes[name].typed:
                each, folder = _files(path, takes[name]), True
            each = _joined(each, takes[name])
            items[name] = list(each)
            if takes[name].lines and len(each) > 1:
                called = called or tuple(map(_slug, each))
            if not takes[name].typed and all(map(_is_file, each)):
                rows = max(rows, [Path(word).stem for word in each], key=len)
        named = rows if len(set(rows)) == len(rows) > 0 else None
        return cls(items, options, named, folder, called)

    @property
    def count(self) -> int:
        """Rows that are given, 0 for nothing."""
        return max((len(each) for each in self.items.values()), default=0)

    def name(self, row: int) -> str:
        """What the file of a row is called: its number, and what was said of it."""
        word = self.words[row % len(self.words)] if self.words else ""
        return f"{row:06d}_{word}" if word else f"{row:06d}"

    def check(self, count: int) -> None:
        """Refuses more or fewer items than there are rows.

        Raises:
            UserError: names which.
        """
        for name, each in self.items.items():
            if len(each) not in (1, count):
                raise UserError(f"--{name} has {len(each)} items for {count}: give {count}, or one")

    def rows(self, rows: range) -> dict[str, Any]:
        """What `Run.split` takes, of some rows; a single item serves all."""
        items = {
            name: each if len(each) == 1 else [each[row] for row in rows]
            for name, each in self.items.items()
        }
        return {**items, **self.options}

    def one(self) -> dict[str, Any]:
        """What serves all rows, as `Run.split` takes it.

        Raises:
            UserError: several values of something.
        """
        for name, items in self.items.items():
            if len(items) != 1:
                raise UserError(f"--{name} has {len(items)} values: give one, for all images")
        return self.rows(range(1))


def _lines(file: Path, name: str) -> tuple[str, ...]:
    """The lines of a file that are not empty."""
    try:
        text = read_text(file.expanduser(), limit=_LARGEST)
    except OSError as error:
        raise UserError(
            f"--{name}s is {str(file)!r}, which cannot be read ({error.strerror}): give a file "
            f"with a {name} a line; a {name} itself goes to --{name}"
        ) from error
    except ValueError:
        raise UserError(f"--{name}s is {file}, which is no UTF-8 text: give {name}s") from None
    lines = tuple(line.strip() for line in text.removeprefix("\ufeff").splitlines())
    if not any(lines):
        raise UserError(f"--{name}s is {file}, which has no lines: give one {name} a line")
    return tuple(line for line in lines if line)


def _slug(text: str) -> str:
    """The text as part of the name of a file."""
    return re.sub(r"[\W_]+", "-", text.lower())[:40].strip("-")


def _joined(words: Sequence[str], field: Field) -> Sequence[str]:
    """As many numbers as one item has are one item: --code 0.5 -1."""
    alone = len(words) > 1 and field.shape == (len(words),)
    if not alone or any("," in word for word in words):
        return words
    try:
        [float(word) for word in words]
    except ValueError:
        return words
    return (",".join(words),)


def _is_file(word: str) -> bool:
    # pathlib's raises for words that are longer than a name can be.
    return os.path.isfile(os.path.expanduser(word))


def _files(folder: Path, field: Field) -> tuple[str, ...]:
    """Files of a folder, in order of their names."""
    known = extensions() if field.suffix in extensions() else (field.suffix,)
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in known and p.is_file())
    if not files:
        raise UserError(f"{folder} holds no files in {', '.join(known)}: give another folder")
    return tuple(map(str, files))


def _array(path: Path, name: str) -> np.ndarray:
    """The array of that name, also with an s, or the only one."""
    arrays = npz.read(path, name)
    found = arrays.get(name, arrays.get(f"{name}s"))
    if found is None and len(arrays) == 1:
        (found,) = arrays.values()
    if found is None:
        raise UserError(f"{path} holds {', '.join(arrays)}: expected {name}")
    if not found.ndim or not len(found):
        raise UserError(f"{path} holds no items of {name}: expected an array [n, ...]")
    return found
