"""Command lines to dataclasses through tyro, with errors of one line."""

import contextlib
import dataclasses
import io
import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from jaxgan import config, ranges
from jaxgan.code import Code
from jaxgan.config import Data, Experiment
from jaxgan.errors import UserError, nearest

T = TypeVar("T")

_ELSEWHERE = {
    "--system.learning-rate": ("lr", "learning-rate"),
    "--system.generator-rate": ("lr", "learning-rate", "g-lr", "lr-g"),
    "--system.discriminator-rate": ("d-lr", "lr-d"),
    "--system.latent": ("nz", "z-dim", "latent-dim"),
    "--system.shape": ("resolution", "image-size", "img-size"),
    "--system.classes": ("num-classes", "n-classes"),
    "--system.dtype": ("amp", "bf16", "fp16", "mixed-precision", "precision"),
    "--system.ema-decay": ("ema",),
    "--steps": ("epochs", "iterations", "iters", "kimg", "max-steps", "n-epochs", "num-epochs"),
    "--batch": ("batch-size", "bs"),
    "--micro": ("accumulate", "grad-accum", "gradient-accumulation-steps"),
    "--data": ("data-dir", "data-path", "data-root", "dataroot", "dataset"),
    "--data.workers": ("num-workers",),
    "--flip": ("hflip", "mirror"),
    "--augment": ("aug", "diffaug", "diffaugment"),
    "--mesh.data": ("devices", "gpus", "n-gpus", "num-gpus"),
    "--checkpoint.every": ("checkpoint", "ckpt", "save-every", "save-freq", "snap"),
    "--best": ("checkpoint", "ckpt"),
    "--evaluate.every": ("eval-every", "eval-freq"),
    "--out": ("logdir", "outdir", "output", "output-dir", "save-dir", "workdir"),
    "--num": ("count", "n", "num-images", "num-samples"),
    "--label": ("class", "class-idx"),
    "--against": ("real", "reference"),
}
"""Options, and what other programs call them."""


def parse(kind: type[T], argv: list[str], *, prog: str, description: str) -> T:
    """Parses `argv` into the dataclass `kind`; prints help and exits where asked to.

    Raises:
        UserError: an option that does not exist, with the nearest one; a value of the wrong type; a
            number outside its option's range.
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
                registry=_NUMBERS,
            )
            ranges.check(kind, vars(result))
    except SystemExit as exit_:
        if exit_.code == 0:
            raise
        raise UserError(_as_typed(_plain(_unboxed(complaint.getvalue())), argv)) from None
    except UserError as error:
        raise UserError(_as_typed(str(error), argv)) from error
    if unknown:
        options = [word for word in unknown if word.startswith("-")]
        if not options:
            raise UserError(f"unexpected argument {unknown[0]!r}; see {prog} --help")
        name = options[0].partition("=")[0]
        known = list(_options(kind, result))
        if meant := _meant(name, known):
            raise UserError(f"unknown option {name}; did you mean {meant}?")
        near = nearest(name, known, hint=f"; see {prog} --help")
        raise UserError(f"unknown option {name}{near}")
    return result


_NUMBERS = tyro.constructors.ConstructorRegistry()
"""How numbers are typed, whole ones also as 1e5, several with spaces or commas; and paths."""


@_NUMBERS.primitive_rule
def _numbers(
    info: tyro.constructors.PrimitiveTypeInfo,
) -> tyro.constructors.PrimitiveConstructorSpec | None:
    """How an option of numbers is read: int, float, tuples of them, and any of these or None."""
    kind, optional = info.type, False
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        rest = [each for each in typing.get_args(kind) if each is not type(None)]
        if len(rest) != 1 or len(rest) == len(typing.get_args(kind)):
            return None
        kind, optional = rest[0], True
    kinds = [_bare(each) for each in typing.get_args(kind)]
    several = typing.get_origin(kind) is tuple and set(kinds) - {...} in ({int}, {float})
    if not several and _bare(kind) not in (int, float):
        return None
    count = 1 if not several else None if ... in kinds else len(kinds)
    one = kinds[0] if several else _bare(kind)

    def read(words: list[str]) -> Any:
        if optional and [word.lower() for word in words] == ["none"]:
            return None
        typed = " ".join(words)
        parts = re.split(r"[\s,]+", typed.strip("()[] ,")) if several else words
        found = tuple(_number(part, one) for part in parts if part)
        if count is not None and len(found) != count:
            many = f"give {count} numbers, such as 1 2" if several else "give a number"
            raise ValueError(f"is {typed or 'empty'}: {many}")
        return found if several else found[0]

    word = {int: "INT", float: "FLOAT"}[one]
    metavar = word if not several else f"[{word} ...]" if count is None else f"{word} " * count
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs="*" if several else 1,
        metavar=f"{{None}}|{metavar.strip()}" if optional else metavar.strip(),
        instance_from_str=read,
        is_instance=lambda value: True,  # ranges say what is wrong with it
        str_from_instance=lambda value: (
            [str(each) for each in value] if isinstance(value, tuple) else [str(value)]
        ),
    )


@_NUMBERS.primitive_rule
def _paths(
    info: tyro.constructors.PrimitiveTypeInfo,
) -> tyro.constructors.PrimitiveConstructorSpec | None:
    """How an option of a file or folder is read: `Path` makes this folder of an empty word."""
    if info.type not in (Path, Path | None):
        return None
    optional = info.type is not Path

    def read(words: list[str]) -> Path | None:
        if optional and words[0].lower() == "none":
            return None
        if not words[0]:
            raise ValueError("is empty: give a file or folder")
        return Path(words[0])

    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="{None}|PATH" if optional else "PATH",
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, Path) or (optional and value is None),
        str_from_instance=lambda value: [str(value)],
    )


def _bare(kind: Any) -> Any:
    """A type without its marks."""
    return typing.get_args(kind)[0] if typing.get_origin(kind) is Annotated else kind


def _number(word: str, kind: type) -> float:
    try:
        number = float(word)
    except ValueError:
        raise ValueError(f"is {word}: it must be a number") from None
    if kind is float:
        return number
    with contextlib.suppress(ValueError):
        return int(word)  # whatever its size
    if not number.is_integer():
        raise ValueError(f"is {word}: it must be a whole number")
    return int(number)


def _plain(message: str) -> str:
    """What tyro says of a value, in our words."""
    if found := re.match(r"Error parsing (\S+): (is .*)", message):
        return f"{found[1]} {found[2]}"
    if found := re.match(
        r"Missing from .*?: (--\S+) (?:\{.*?\}|[A-Z]+) (.*) \(required\)", message
    ):
        return f"no {found[1]} given: {found[2].rstrip('.')}"
    if found := re.match(r"Missing value for argument '(\S+)'\.? Expected (\d+)", message):
        if found[2] == "1":
            return f"{found[1]} has no value: give one"
        return f"{found[1]} has too few values: give {found[2]}"
    choice = r"invalid choice '(.*)' for argument '(\S+)'\. Expected one of \((.*?),?\)\.?$"
    if found := re.match(choice, message):
        return f"{found[2]} is {found[1] or 'empty'}: give one of {found[3].replace(chr(39), '')}"
    several = r"Error parsing (\S+): no type matching .* expected argument count (\d+)"
    if found := re.match(several, message):
        return f"{found[1]} has too few values: give {found[2]}"
    message = re.sub(r"^Error parsing [a-z_.]+: ", "", message)  # what a dataclass itself refused
    return re.sub(r"\[/?bold\]", "", message)


def _as_typed(message: str, argv: list[str]) -> str:
    """The message with its option, which comes first, as it was typed: --crop, not --data.crop."""
    option, _, rest = message.partition(" ")
    names = {_canonical(name) for name in option.split("/")}
    typed = (word.partition("=")[0] for word in argv)
    found = next((word for word in typed if _canonical(word) in names), option.split("/")[-1])
    return f"{found} {rest}" if option.startswith("--") else message


def _canonical(option: str) -> str:
    name = option.replace("_", "-")
    return _LONG.get(name, name)


_LONG = {
    alias: f"{kind.flags}{name.replace('_', '-')}"
    for kind in (Data,)
    for name, hint in ranges.fields_of(kind).items()
    for mark in getattr(hint, "__metadata__", ())
    for alias in getattr(mark, "aliases", None) or ()
}
"""Options with a short name, by that."""


def take_target(argv: list[str], command: str, what: str) -> tuple[str, list[str]]:
    """Splits off the positional argument that comes first.

    Where help is asked for without one, the target is the word for it, as usages have it.

    Raises:
        UserError: there is none.
    """
    if argv and not argv[0]:
        raise UserError(f"{what.split(' ')[0]} is empty; usage: jaxgan {command} {what} [options]")
    if not argv or argv[0].startswith("-"):
        if {"-h", "--help"} & set(argv):
            return what.partition(" ")[0], ["--help"]
        raise UserError(f"no {what} given; usage: jaxgan {command} {what} [options]")
    return argv[0], argv[1:]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Opening:
    """What commands that open a run take."""

    trust_code: bool = False
    """Run the code that the run carries, or names, though you have not trained it: it may do
    anything. Its files are in RUN/code."""


def trusts(argv: list[str]) -> bool:
    """Whether `Opening.trust_code` is given, for commands whose options depend on the run."""
    return "--trust-code" in argv


_ANY_SYSTEM = tyro.conf.arg(name="system.*", metavar="...", help_behavior_hint="")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _AnyConfig(Experiment):
    """What the help of a command without its CONFIG lists: all but what only a config decides."""

    system: Annotated[str, _ANY_SYSTEM] = ""  # type: ignore[assignment]
    """The system's own settings: put a CONFIG before --help to see them, and its defaults."""
    data: Data = dataclasses.field(default=Data(source="mnist5k"))

    def __post_init__(self) -> None:
        """Leaves out the checks that ask the system."""


def load_config(target: str) -> tuple[Experiment, Code | None]:
    """The config that `take_target` found, and its code; for its word alone, one to show the help
    of."""
    if target.partition("|")[0] == "CONFIG":
        return _AnyConfig(), None
    return config.load_with_code(target)


def _meant(name: str, known: list[str]) -> str | None:
    """The option that other programs call so, if it is among those that there are."""
    word = name.lstrip("-").replace("_", "-").lower()
    return next((option for option in known if word in _ELSEWHERE.get(option, ())), None)


def _unboxed(text: str) -> str:
    """The message in tyro's box, which ends where the help of the option begins.

    Where the output is not UTF-8, the box has no frame, and a rule also before the message.
    """
    words: list[str] = []
    for line in text.splitlines()[1:]:
        line = line.strip("│ ")
        if line and not set(line) - set("─-╰╯"):
            if words:
                break
            continue
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
