"""Command lines to dataclasses through tyro, with errors of one line."""

import contextlib
import dataclasses
import io
from collections.abc import Iterator
from typing import Annotated, Any, TypeVar

import tyro

from jaxgan import config
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
        known = list(_options(kind, result))
        if meant := _meant(name, known):
            raise UserError(f"unknown option {name}; did you mean {meant}?")
        near = nearest(name, known, hint=f"; see {prog} --help")
        raise UserError(f"unknown option {name}{near}")
    return result


def take_target(argv: list[str], command: str, what: str) -> tuple[str, list[str]]:
    """Splits off the positional argument that comes first.

    Where help is asked for without one, the target is the word for it, as usages have it.

    Raises:
        UserError: there is none.
    """
    if not argv or argv[0].startswith("-"):
        if {"-h", "--help"} & set(argv):
            return what.partition(" ")[0], ["--help"]
        raise UserError(f"no {what} given; usage: jaxgan {command} {what} [options]")
    return argv[0], argv[1:]


_ANY_SYSTEM = tyro.conf.arg(name="system.*", metavar="...", help_behavior_hint="")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _AnyConfig(Experiment):
    """What the help of a command without its CONFIG lists: all but what only a config decides."""

    system: Annotated[str, _ANY_SYSTEM] = ""  # type: ignore[assignment]
    """The system's own settings: put a CONFIG before --help to see them, and its defaults."""
    data: Data = dataclasses.field(default=Data(source="mnist5k"))

    def __post_init__(self) -> None:
        """Leaves out the checks that ask the system."""


def load_config(target: str) -> Experiment:
    """The config that `take_target` found; for its word alone, one to show the help of."""
    return _AnyConfig() if target.partition("|")[0] == "CONFIG" else config.load(target)


def _meant(name: str, known: list[str]) -> str | None:
    """The option that other programs call so, if it is among those that there are."""
    word = name.lstrip("-").replace("_", "-").lower()
    return next((option for option in known if word in _ELSEWHERE.get(option, ())), None)


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
