"""jaxgan directions RUN: finds directions in the codes of a trained generator, and shows them."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from rich.table import Table

from jaxgan import pictures
from jaxgan.backend import keep_compilations
from jaxgan.cli.options import Given, only, parse_with_use
from jaxgan.cli.out import check_out
from jaxgan.cli.parse import Opening
from jaxgan.console import Plain, say
from jaxgan.errors import UserError
from jaxgan.files import writing
from jaxgan.latent import control, finding, scores
from jaxgan.latent import directions as ways
from jaxgan.latent.directions import Directions
from jaxgan.latent.needs import require
from jaxgan.ranges import Positive, Rate, Seed, Weight, Within
from jaxgan.run import Run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Opening):
    """How they are found, and where they go."""

    method: Literal["sefa", "ganspace", "boundary", "classifier"]
    """sefa: of the weights that codes enter; ganspace: principal components; boundary: between
    samples with high and low scores (InterFaceGAN); classifier: where a classifier's gradients
    lead, with a second classifier as guard."""
    out: Path
    """Folder, new or empty: directions.npz, directions.json, and a picture of each direction."""
    space: Literal["z", "w"] | None = None
    """z: latents; w: styles. None: w for systems with styles, else z."""
    layers: str | None = None
    """First and last layer, from 0, such as 4-7, whose styles are moved (and, for sefa, count)."""
    count: Positive = 10
    """Directions of sefa and ganspace."""
    num: Positive | None = None
    """Samples: 10,000 for ganspace and boundary, 64 a class for classifier; 2,000 for sefa, which
    measures sigma alone by them."""
    layer: str | None = None
    """Of ganspace in z: path of the generator's module whose activations are taken, as `jaxgan
    info` has them; None: the first that takes the latent."""
    unit_rows: bool = True
    """Of sefa: outputs of a layer count alike, as in its authors' code."""
    scores: str | None = None
    """classes: of the run's data; colours; or FILE.py:NAME, a function of uint8 images. None:
    classes for boundary and classifier; colours for the report of the others."""
    attributes: tuple[str, ...] = ()
    """Attributes, or classes, that are wanted; none: all."""
    conditions: tuple[str, ...] = ()
    """Of boundary: attributes that are to stay."""
    extremes: Annotated[float, Within(0, 0.5, above=True)] = 0.02
    """Of boundary: share of the samples on each side that it learns from."""
    steps: Positive = 50
    """Of classifier: of the gradient, for each sample."""
    rate: Rate = 0.3
    """Of classifier: what the gradient is multiplied by."""
    noise: Weight = 1.0
    """Of classifier: deviation of what is added to images in [-1, 1] that it sees."""
    rows: Positive = 4
    """Samples in each picture."""
    seed: Seed = 0
    """Of the samples."""
    best: bool = False
    """Take the run's best checkpoint (train --evaluate.every), not the newest."""


_ONLY = {
    "layer": ("ganspace",),
    "unit_rows": ("sefa",),
    "count": ("sefa", "ganspace"),
    "attributes": ("boundary", "classifier"),
    "conditions": ("boundary",),
    "extremes": ("boundary",),
    "steps": ("classifier",),
    "rate": ("classifier",),
    "noise": ("classifier",),
}
"""Options that some methods have."""


def main(argv: list[str]) -> int:
    """Parses, finds, reports, draws."""
    folder, run, options = parse_with_use(
        argv,
        "directions",
        Options,
        "generate",
        lambda run: require(run, "draw images of codes, in which directions lie", "generate"),
        description="Finds directions in the codes of a trained generator. Move samples along them "
        "by `jaxgan sample RUN --move DIR:1:+2`.",
    )
    if options.out.suffix:
        raise UserError(f"--out is {options.out}: give a folder")
    check_out(options.out, {})
    only(options, Options, _ONLY, [options.method])
    keep_compilations()
    run = Run(folder, best=True, trust_code=options.trust_code) if options.best else run
    how = Given.of(run, "generate", options, Options).one()
    found, attributes = _found(run, options, how)
    entangled = ways.entanglement(run, found, attributes, seed=options.seed, **how)
    ways.write(options.out, found, attributes.names, entangled)
    for index in range(len(found)):
        images = ways.strip(run, found, index, rows=options.rows, seed=options.seed, **how)
        path = options.out / f"{index + 1:02d}.png"
        with writing(path):
            flat = images.reshape(-1, *images.shape[2:])
            pictures.grid(flat, images.shape[1]).save(path)
    _report(found, attributes.names, entangled)
    if options.method in _ONLY["count"] and len(found) < options.count:
        say(
            f"there are {len(found)} directions, not {options.count}: others carry nothing in "
            f"{options.num or 'so many'} samples"
        )
    say(f"{options.out}: {len(found)} directions in {found.space} of {folder}, by {found.method}")
    return 0


def _found(run: Run, options: Any, how: dict[str, Any]) -> tuple[Directions, scores.Attributes]:
    """Directions by the method that is asked for, and the attributes that they are reported by."""
    seed, space = options.seed, options.space
    layers = None if options.layers is None else ways.parse_layers(options.layers)
    num = {} if options.num is None else {"num": options.num}
    common = {"space": space, "layers": layers, "seed": seed, **num, **how}
    if options.method == "sefa":
        found = finding.sefa(run, count=options.count, unit_rows=options.unit_rows, **common)
        return found, scores.attributes(run, options.scores or "colours")
    if options.method == "ganspace":
        found = finding.ganspace(run, count=options.count, layer=options.layer, **common)
        return found, scores.attributes(run, options.scores or "colours")
    by = scores.attributes(run, options.scores or "classes")
    if options.method == "boundary":
        found = finding.boundaries(
            run,
            by,
            names=options.attributes,
            conditions=options.conditions,
            extremes=options.extremes,
            **common,
        )
        return found, by
    if options.scores not in (None, "classes"):
        raise UserError("--method classifier follows gradients: it has --scores classes alone")
    guard = scores.classes(run, half=1)
    found, went = control.class_directions(
        run,
        by,
        guard,
        names=options.attributes,
        steps=options.steps,
        rate=options.rate,
        noise=options.noise,
        **common,
    )
    table = Table("class", "turned", "guard agrees", "guard's probability", box=None)
    for name, each in went.items():
        before, after = each.guard.mean(1)
        agreed = each.agreed[each.turned].mean() if each.turned.any() else float("nan")
        table.add_row(
            name, f"{each.turned.mean():.0%}", f"{agreed:.0%}", f"{before:.2f} to {after:.2f}"
        )
    Plain().print(table)
    turned = np.concatenate([each.turned for each in went.values()])
    agreed = np.concatenate([each.agreed for each in went.values()])
    say(
        f"{turned.mean():.1%} of samples became the class within {options.steps} steps; the guard, "
        f"right on {scores.guard_accuracy(run, guard):.1%} of images that it never saw, agrees on "
        f"{agreed[turned].mean() if turned.any() else float('nan'):.1%} of them"
    )
    return found, by


def _report(found: Directions, names: tuple[str, ...], entangled: np.ndarray) -> None:
    """How far every attribute moves with a sigma of each direction."""
    shown = names[:12]
    more = ["rest"] if found.rest else []
    table = Table(found.space, "strength", *more, "sigma", *shown, box=None)
    for index, name in enumerate(found.names):
        measured = [each[index] for each in (found.strength, found.rest) if each]
        cells = [f"{x:.2f}" for x in (found.sigma[index], *entangled[index, : len(shown)])]
        table.add_row(name, *(f"{x:.3f}" for x in measured), *cells)
    Plain().print(table)
    rest = f", the first {len(shown)} of {len(names)}" if len(names) > len(shown) else ""
    say(f"how far attributes move with 1 sigma, in their own deviations{rest}")
    if found.method == "boundary":
        all_ = ", rest on all samples that are no extremes" if found.rest else ""
        say(f"strength is the boundary's accuracy on extremes that were held out{all_}")
