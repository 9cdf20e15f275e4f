"""jaxgan theory: what the theory of GANs says, watched on Gaussians on a line."""

import dataclasses
from pathlib import Path

import numpy as np
from rich.table import Table

from jaxgan.cli.parse import parse
from jaxgan.console import Plain, say
from jaxgan.divergences import DIVERGENCES
from jaxgan.errors import UserError
from jaxgan.files import refuse_bucket, writing
from jaxgan.ranges import Seed
from jaxgan.theory import figures, games
from jaxgan.theory.gaussians import misplaced


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Where the pictures go."""

    out: Path = Path("theory")
    """Folder for discriminability.png, gradients.png and ratios.png."""
    seed: Seed = 0
    """Of networks and samples."""


def main(argv: list[str]) -> int:
    """Parses, plays the games, draws, prints."""
    options = parse(
        Options,
        argv,
        prog="jaxgan theory",
        description="Trains tiny GANs on Gaussians, whose divergences and density ratios are "
        "known: what D estimates as G improves, G's gradients as D does, density ratios read off "
        "D. Takes half a minute.",
    )
    out = options.out
    refuse_bucket(out)
    if out.exists() and not out.is_dir():
        raise UserError(f"--out is {out}, which is a file: give a folder")
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    far = games.discriminability(options.seed)
    steep = games.gradients(options.seed)
    read = games.ratios(options.seed)
    for name, picture in {
        "discriminability": figures.discriminability(far),
        "gradients": figures.gradients(steep),
        "ratios": figures.ratios(read),
    }.items():
        with writing(out):
            picture.save(out / f"{name}.png")
    _print(
        "D's estimate of the Jensen-Shannon divergence, as G improves",
        ("step of G", "fake mean", "deviation", "JSD (nats)", "D's estimate"),
        [
            (f"{step:,}", *(f"{each[step]:.4f}" for each in (*_of(far), far.true, far.estimated)))
            for step in np.linspace(0, len(far.true) - 1, 7).astype(int)
        ],
    )
    learned = len(steep["saturating"])
    _print(
        "Gradients of G's losses by the mean of fakes, as D learns",
        ("step of D", *(name.replace("_", "-") for name in steep)),
        [
            (f"{step:,}", *(f"{each[step - 1]:.2g}" for each in steep.values()))
            for step in np.geomspace(1, learned, 4).round().astype(int)
        ],
    )
    _print(
        "The mass by which q, times the p/q that is read off D, is not p",
        ("D learned", "misplaced"),
        [
            (name, f"{misplaced(DIVERGENCES[name], games.REAL, games.WIDE, logits):.2%}")
            for name, logits in read.items()
        ],
    )
    say(f"Pictures of all this: {out}")
    return 0


def _of(found: games.Discriminability) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(found.fakes.mean), np.asarray(found.fakes.deviation)


def _print(title: str, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    say(title)
    table = Table(*head, box=None)
    for column in table.columns:
        column.justify = "right"
    for row in rows:
        table.add_row(*row)
    Plain().print(table)
    say("")
