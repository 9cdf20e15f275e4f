"""jaxgan apply RUN USE: anything that a run can do, to what it is given."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from jaxgan.backend import keep_compilations
from jaxgan.cli.options import Given, with_use
from jaxgan.cli.out import check_out, write
from jaxgan.cli.parse import Opening, parse, take_target, trusts
from jaxgan.console import say
from jaxgan.errors import UserError
from jaxgan.fields import Normal
from jaxgan.ranges import Positive, Rate, Seed
from jaxgan.run import Run
from jaxgan.run.folder import is_run
from jaxgan.training.apply import CHUNK

_PORTION = 64
"""Rows in memory at a time, where they go to a folder."""

_SHOWN = 16
"""Rows where nothing is given that says how many."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Opening):
    """How many, and where to."""

    out: Path
    """FILE.png: a picture; FILE.npz: arrays by name; FILE.gif, .webp or .mp4: of clips; else a
    folder with a file for each row, named as the files that were given."""
    num: Positive | None = None
    """Rows; None: as many as are given, or 16."""
    seed: Seed = 0
    """Of what is drawn: equal seeds give equal results."""
    best: bool = False
    """Take the run's best checkpoint (train --evaluate.every), not the newest."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Truncated(Options):
    """Options of uses that draw latents."""

    truncation: Rate | None = None
    """Redraw components of the latents beyond +-truncation: fidelity for variety."""


def main(argv: list[str]) -> int:
    """Parses, applies, writes."""
    folder, rest = take_target(argv, "apply", "RUN USE")
    opens = is_run(folder)
    trust = trusts(rest)
    if opens and rest in ([], ["--trust-code"]):
        uses = ", ".join(Run(folder, trust_code=trust).system.uses())
        raise UserError(f"no USE given: {folder} has {uses}; usage: jaxgan apply RUN USE [options]")
    use, rest = take_target(rest, f"apply {folder}", "USE")
    kind: type = Options
    base: type = Options
    if opens or not {"-h", "--help"} & set(rest):
        run = Run(folder, trust_code=trust)
        draws = any(isinstance(field, Normal) for field in run.takes(use).values())
        base = Truncated if draws else Options
        kind = with_use(base, run, use)
    options: Any = parse(
        kind,
        rest,
        prog=f"jaxgan apply {folder} {use}",
        description="Does something that a run can do (`jaxgan info RUN`). What it takes may be "
        "given as text, numbers with commas, files, a folder of files, or arrays in an .npz; "
        "several values are several rows.",
    )
    given = Given.of(run, use, options, base)
    check_out(options.out, run.gives(use))
    keep_compilations()
    run = Run(folder, best=True, trust_code=trust) if options.best else run
    count = options.num if options.num is not None else given.count or _SHOWN
    given.check(count)
    # Of files, what comes of one does not depend on its neighbours.
    numbers = np.zeros(count, int) if given.folder else np.arange(count)
    size = count if options.out.suffix else _PORTION
    for start in range(0, count, size):
        rows = range(start, min(start + size, count))
        items, static = run.split(use, given.rows(rows))
        applied = run.apply(
            use,
            items,
            numbers=numbers[rows.start : rows.stop],
            seed=options.seed,
            options=static,
            truncation=getattr(options, "truncation", None),
            # A chunk is computed whole, and what is given may be large.
            chunk=min(len(rows), 16) if given.items else CHUNK,
        )
        named = given.names if given.names and len(given.names) == count else None
        names = [named[r] if named else given.name(r) for r in rows]
        write(options.out, run.takes(use, static), run.gives(use, static), applied, names=names)
    say(f"{options.out}: {count} x {use} by {folder}")
    return 0
