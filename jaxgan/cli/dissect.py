"""jaxgan dissect RUN: which units of a layer stand for which concepts, and what they cause."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from jaxgan.backend import keep_compilations
from jaxgan.cli.options import Given, only, parse_with_use
from jaxgan.cli.out import check_out
from jaxgan.cli.parse import Opening
from jaxgan.console import say
from jaxgan.errors import UserError
from jaxgan.files import writing
from jaxgan.latent.causal import effect
from jaxgan.latent.concepts import Concepts, read
from jaxgan.latent.dissection import Dissection, Quantile, dissect, picture
from jaxgan.latent.layers import Layer
from jaxgan.latent.needs import require
from jaxgan.ranges import Count, Positive, Seed
from jaxgan.run import Run

USE = "generate"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Opening):
    """Which layer, and which concepts."""

    layer: str
    """Path of a module that gives maps, such as block3; a wrong one lists all."""
    concepts: str
    """alpha: what is opaque in RGBA; colours:K: K clusters of colours; the folder of a run that
    segments; or FILE.py:NAME, a function of yours, from images [b, h, w, x] in [-1, 1] to masks
    [b, h, w, c]."""
    out: Path
    """New folder for dissection.json, dissection.npz, units.csv and a picture of each concept."""
    num: Positive = 1000
    """Images; the paper has 10,000."""
    seed: Seed = 0
    """Of the images."""
    quantile: Quantile = 0.005
    """Share of places in which a unit is said to be high."""
    effect: bool = False
    """Find the strengths with which units cause each concept, and their causal effect."""
    steps: Count = 200
    """Of --effect: of the optimisation of strengths."""
    best: bool = False
    """Take the run's best checkpoint (train --evaluate.every), not the newest."""


def main(argv: list[str]) -> int:
    """Parses, dissects, writes."""
    folder, run, options = parse_with_use(
        argv,
        "dissect",
        Options,
        USE,
        lambda run: require(run, "be dissected", USE),
        description="Compares the units of a generator's layer with concepts (GAN dissection).",
    )
    if options.out.suffix:
        raise UserError(f"--out is {options.out}: give a new folder")
    only(options, Options, {"steps": ["--effect"]}, ["--effect"] if options.effect else [])
    check_out(options.out, {})
    given = Given.of(run, USE, options, Options).one()
    trust = options.trust_code
    keep_compilations()
    run = Run(folder, best=True, trust_code=trust) if options.best else run
    Layer.of(run, options.layer, USE, **given)  # before the concepts, which take longer
    concepts = read(options.concepts, run, trust_code=trust, **given)
    found = dissect(
        run,
        options.layer,
        concepts,
        num=options.num,
        seed=options.seed,
        quantile=options.quantile,
        **given,
    )
    if options.effect:
        found = with_effects(run, found, concepts, options.steps, given)
    with writing(options.out):
        found.save(options.out)
        for name in found.about.names:
            picture(run, found, name, **given).save(options.out / f"{name}.png")
    print(found.text())
    say(f"{options.out}: units.csv, dissection.npz and a picture of each concept")
    return 0


def with_effects(
    run: Run, found: Dissection, concepts: Concepts, steps: int, given: dict[str, Any]
) -> Dissection:
    """The dissection with strengths and effects; NaN of concepts of which there is none."""
    strengths, effects = np.full_like(found.level, np.nan), np.full_like(found.present, np.nan)
    if not concepts.traced and steps:
        steps = 0
        say(f"{concepts.word} is no function of JAX, so without gradients: overlaps are strengths")
    for n, name in enumerate(found.about.names):
        try:
            made = effect(run, found, concepts, name, steps=steps, **given)
        except UserError as error:
            say(f"{name}: {error}")
            continue
        strengths[n], effects[n] = made.strength, made.ace
    return dataclasses.replace(found, strength=strengths, effect=effects)
