"""jaxgan neighbours RUN: the real images nearest to what a run draws."""

import dataclasses
from pathlib import Path
from typing import Any

from jaxgan import data
from jaxgan.backend import cache, keep_compilations
from jaxgan.cli.parse import Opening, parse, take_target
from jaxgan.console import say
from jaxgan.errors import UserError
from jaxgan.files import writing
from jaxgan.latent.neighbours import COMPARED, memorisation, neighbours, picture, samples_of
from jaxgan.metrics.evaluate import choose_extractor
from jaxgan.metrics.features import Extractor, pixels
from jaxgan.metrics.images import Stored, of_source
from jaxgan.ranges import Positive, Rate, Seed
from jaxgan.run import Run
from jaxgan.run.scored import real_images


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Opening):
    """Of what, by what distance, and where to."""

    out: Path
    """The picture, a .png: a row a sample, at its right its neighbours with their distances."""
    against: str | None = None
    """Real images, as --data takes them; None: the data that the run was trained on."""
    held_out: str | None = None
    """Images that the run was not trained on: whether samples lie nearer to --against than these
    do, which is what copies do, is told."""
    num: Positive = 8
    """Samples in the picture."""
    neighbours: Positive = 6
    """Of each sample."""
    compared: Positive = COMPARED
    """Samples, and held-out images, whose distances are compared."""
    extractor: str | None = None
    """Whose features are compared: inception, efficientnet, vgg, classifier, or pixels, the images
    themselves. By default as `jaxgan evaluate` has it."""
    weights: Path | None = None
    """File of its weights, or a folder that has it."""
    truncation: Rate | None = None
    """Of latents; None: none."""
    seed: Seed = 0
    """Of the samples."""
    best: bool = False
    """Take the run's best checkpoint, not the newest."""


def main(argv: list[str]) -> int:
    """Parses, seeks, draws."""
    target, rest = take_target(argv, "neighbours", "RUN")
    options = parse(
        Options,
        rest,
        prog=f"jaxgan neighbours {target}",
        description="Shows the real images that are nearest to what a run draws.",
    )
    out = options.out
    if out.suffix != ".png" or not out.parent.is_dir():
        raise UserError(f"--out is {out}: give a .png in a folder that exists")
    keep_compilations()
    run = Run(target, best=options.best, trust_code=options.trust_code)
    against = _against(run, options)
    network = _extractor(run, options, against)
    how: dict[str, Any] = {
        "extractor": network,
        "seed": options.seed,
        "truncation": options.truncation,
    }
    found = neighbours(run, against, options.num, k=options.neighbours, **how)
    with writing(out):
        picture(found).save(out)
    say(
        f"{out}: {options.num} samples of {target}, each with the nearest of {len(against):,} "
        f"images of {found.name} by {found.extractor}"
    )
    for number, (rows, distances) in enumerate(zip(found.rows, found.distances, strict=True)):
        pairs = ", ".join(f"{r} ({d:.4g})" for r, d in zip(rows, distances, strict=True))
        say(f"sample {number}: items {pairs}")
    if options.held_out is not None:
        others = of_source(data.open_source(options.held_out), against.shape)
        say(memorisation(run, against, others, options.compared, **how).text())
    return 0


def _against(run: Run, options: Options) -> Stored:
    shape = samples_of(run, 1).shape
    if options.against is not None:
        return of_source(data.open_source(options.against), shape)
    source = run.source()
    if isinstance(source, data.Stepwise):
        raise UserError(f"{run.experiment.data.name} has batches alone: give --against")
    return real_images(run.experiment, source, shape)


def _extractor(run: Run, options: Options, against: Stored) -> Extractor:
    if options.extractor == "pixels":
        return pixels(against.shape)
    return choose_extractor(options.extractor, options.weights, against, cache() / "classifiers")
