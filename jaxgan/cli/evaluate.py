"""jaxgan evaluate RUN|FOLDER|NPZ: scores against real images, each a record."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.table import Table

from jaxgan import data, npz
from jaxgan.backend import cache, keep_compilations
from jaxgan.bucket import Staged
from jaxgan.cli.parse import Opening, parse, take_target
from jaxgan.console import Plain, say
from jaxgan.errors import UserError
from jaxgan.fields.pixels import MAX_PIXELS, Reading, text
from jaxgan.files import refuse_links
from jaxgan.metrics import rates, regressor
from jaxgan.metrics.base import warn
from jaxgan.metrics.evaluate import choose_extractor, compared, evaluate, find, refer
from jaxgan.metrics.features import Extractor, pixels
from jaxgan.metrics.images import Drawn, Stored, of_source, shape_of
from jaxgan.metrics.plots import over_truncations
from jaxgan.metrics.records import Record, append
from jaxgan.ranges import Positive, Rate, Seed, complaint
from jaxgan.run import Run
from jaxgan.run.folder import is_run
from jaxgan.run.scored import captioned, has, makes, real_images


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Opening):
    """What is scored, and how."""

    against: str | None = None
    """Real images: a data set as --data takes it, or a file of statistics (mu and sigma, .npz), for
    FID alone. By default the data that the run was trained on."""
    metrics: str = "fid"
    """With commas: fid, kid, is, precision_recall, density_coverage, intra_fid, swd, ppl, lpips,
    cas; of masks iou, dice, accuracy; of clips clip_fid, consistency, speed_error; of pairs psnr,
    ssim, msssim, chroma; mse, epe of a run that predicts clips; bpp of one that compresses, which
    with scores of pairs draws rate_distortion.png
    against JPEG, WebP and AVIF."""
    num: Positive | None = None
    """Images to draw from a run (10,000), or to take from files, or for a run to make images or
    masks of (all)."""
    truncation: str | None = None
    """Truncations of a run's latents, such as 0.5,1.0,none: each is scored, and the curve drawn in
    the run's truncation.png."""
    best: bool = False
    """Score the run's best checkpoint, not the newest."""
    extractor: str | None = None
    """Network: inception, efficientnet, vgg, or classifier, a small one that learns the real images
    first. By default Inception if its weights are there, else EfficientNet, whose scores are not to
    be compared with published ones."""
    weights: Path | None = None
    """File of its weights, or a folder that has it. By default as JAXGAN_WEIGHTS says."""
    seed: Seed = 0
    """Of latents and subsets."""
    max_pixels: Positive = MAX_PIXELS
    """Height times width of the largest image file that is decoded."""
    recursive: bool = False
    """Read folders within sub-folders too: the first level are the classes."""
    skip_broken: bool = False
    """Leave out damaged files, and say how many."""
    json: bool = False
    """Print the records as JSON, one a line."""


def main(argv: list[str]) -> int:
    """Parses, scores, prints, and appends to a run's evaluations.jsonl."""
    target, rest = take_target(argv, "evaluate", "RUN|FOLDER|NPZ")
    options = parse(
        Options,
        rest,
        prog=f"jaxgan evaluate {target}",
        description="Scores generated images against real ones.",
    )
    compared(options.metrics)  # before weights are read
    keep_compilations()
    run, staged, kept = None, None, cache() / "classifiers"
    if is_run(target):
        run = Run(target, best=options.best, trust_code=options.trust_code)
        refuse_links(run.folder)  # scores are written there
        staged = Staged(run.folder)
        kept = staged.here
    if run is None and (options.truncation is not None or options.best):
        raise UserError(f"{target} holds images: --truncation and --best are for runs")
    sides, against = _sides(target, run, options)
    network, reader = _networks(run, options, kept, against, sides[0].shape)
    real = refer(against, options.metrics, extractor=network, regressor=reader)
    found = []
    for side in sides:
        records = evaluate(
            side, real, options.metrics, extractor=network, regressor=reader, seed=options.seed
        )
        found += records
        if staged is not None:
            append(staged.here, records)
            staged.keep()
        if options.json:
            for record in records:
                print(json.dumps(dataclasses.asdict(record)))
        else:
            _print(records)
    if run is not None and staged is not None and len(sides) > 1:
        over_truncations(found).save(staged.here / "truncation.png")
        staged.keep()
        if not options.json:
            say(f"{run.folder / 'truncation.png'}: fidelity and variety by truncation")
    if staged is None or not isinstance(against, Stored) or len(against.shape) != 3:
        return 0
    if rates.compared(options.metrics):
        _rates(against, found, network, staged, options)
    return 0


def _rates(
    against: Stored, records: list[Record], network: Extractor, staged: Staged, options: Options
) -> None:
    """Draws the run among standard coders, and says what these score at its rate."""
    curves = rates.curves(against, options.metrics, extractor=network)
    rates.picture(curves, records).save(staged.here / "rate_distortion.png")
    staged.keep()
    if options.json:
        return
    (rate,) = (record.value for record in records if record.metric == "bpp")
    names = rates.compared(options.metrics)
    table = Table(f"at {rate:.3f} bpp", *names, box=None)
    for format, curve in curves.items():
        values = [rates.at_rate(curve, name, rate) for name in names]
        table.add_row(format, *("-" if value is None else f"{value:.4g}" for value in values))
    Plain().print(table)
    say("rate_distortion.png, in the run's folder: scores by bits, all bytes counted")


def _sides(
    target: str, run: Run | None, options: Options
) -> tuple[list[Drawn | Stored], Stored | Path]:
    """What is scored, once a truncation, and against what."""
    if run is None:
        source = _source(target, options)
        given = _against(options, run)
        if "image" not in compared(options.metrics):
            kind = compared(options.metrics)[0]
            raise UserError(f"{target} holds files: scores of {kind}s are for runs that make them")
        files = _of_files(source, given, options)
        return [files], _reals(given, options, run, files.shape)
    given, kind = _against(options, run), _kind(run, options)
    if not makes(run.system, kind):
        drawn = [*_of_run(run, options, given, kind)]
        return [*drawn], _reals(given, options, run, drawn[0].shape)
    if isinstance(given, Path):
        raise UserError(f"--against {given}: {run.name} makes {kind}s of images: give such data")
    if options.truncation is not None:
        raise UserError(f"--truncation: {run.name} makes {kind}s of images, not of latents")
    made, true = run.made_of(given, options.num, kind=kind, seed=options.seed)
    return [made], true


def _kind(run: Run, options: Options) -> str:
    """What is scored: of what all scores can look at, the first that the run has."""
    kinds = compared(options.metrics)
    return next((kind for kind in kinds if has(run.system, kind)), kinds[0])


def _networks(
    run: Run | None,
    options: Options,
    kept: Path,
    against: Stored | Path,
    shape: tuple[int, ...],
) -> tuple[Extractor, Extractor | None]:
    """What images are compared by, and what reads captions off them."""
    of = {score.of for score in find(options.metrics)}
    reader = _reader(run, options, against, kept, shape)
    if of == {"captions"} and reader is not None:
        return reader, reader
    if of == {"pixels"}:
        return pixels(shape), reader
    return choose_extractor(options.extractor, options.weights, against, kept), reader


def _reading(options: Options) -> Reading:
    """How files are read that are not of a run's own data."""
    return Reading(
        max_pixels=options.max_pixels,
        recursive=options.recursive,
        skip_broken=options.skip_broken,
    )


def _of_captions(options: Options) -> list[str]:
    """The scores that compare images with their captions."""
    return [score.name for score in find(options.metrics) if score.of == "captions"]


def _reader(
    run: Run | None,
    options: Options,
    against: Stored | Path,
    folder: Path,
    shape: tuple[int, ...],
) -> Extractor | None:
    """What reads captions off images, where a score needs that: it learns from the run's data."""
    if run is None or not (names := _of_captions(options)):
        return None
    source = run.source()
    if isinstance(source, data.Stepwise):
        raise UserError(f"{run.experiment.data.name} has batches alone: no captions to learn from")
    learned = captioned(run.experiment, source, shape, run.about)
    if isinstance(against, Stored) and data.fingerprint(against.source) == data.fingerprint(
        learned.source
    ):
        warn(
            f"{names[0]}: the run, and what reads captions off images, learned from these very "
            "captions: give --against held-out data"
        )
    return regressor.of_data(learned.source, folder)


def _of_run(run: Run, options: Options, real: data.Source | Path, kind: str) -> Iterator[Drawn]:
    captions = real if isinstance(real, data.Source) else None
    for word in (options.truncation or "none").split(","):
        try:
            truncation = None if word.strip() == "none" else float(word)
        except ValueError:
            raise UserError(
                f"--truncation is {options.truncation!r}: give numbers with commas, such as "
                "0.5,1.0,none"
            ) from None
        if wrong := complaint(Rate, truncation) if truncation is not None else None:
            raise UserError(f"--truncation {wrong}")
        num = 10_000 if options.num is None else options.num
        yield run.drawn(num, truncation=truncation, seed=options.seed, captions=captions, kind=kind)


def _source(name: str, options: Options) -> data.Source:
    """Images of any shape; what was guessed or left out of them is told."""
    source = data.open_source(name, _reading(options))
    for note in data.notes_of(source):
        warn(f"{name}: {note}")
    return source


def _against(options: Options, run: Run | None) -> data.Source | Path:
    """Real images, of any shape, or a file of statistics."""
    name = options.against
    if name is None:
        if run is None:
            raise UserError("images of files are scored against others: give --against")
        source = run.source()
        if isinstance(source, data.Stepwise):
            raise UserError(f"{run.experiment.data.name} has batches alone: give --against")
        return source
    path = Path(name).expanduser()
    # Of what is no such file, whoever reads it says why.
    return path if "mu" in npz.names(path) else _source(name, options)


def _of_files(source: data.Source, real: data.Source | Path, options: Options) -> Stored:
    """Images of a data set, in colour where either side is."""
    if options.num is not None and options.num > len(source):
        raise UserError(
            f"--num is {options.num:,}, and {source.name} has {len(source):,} images: give at most "
            "these, or leave it out"
        )
    *size, colours = shape_of(source)
    if colours == 1 and isinstance(real, data.Source):
        colours = shape_of(real, sizes=False)[2]
    # Of one size as they are, nothing is scaled; channels may be converted.
    known = None not in source.columns["image"].shape
    return of_source(source, (*size, colours), resize=known, num=options.num)


def _reals(
    real: data.Source | Path, options: Options, run: Run | None, shape: tuple[int, ...]
) -> Stored | Path:
    """Real images in the shape of the generated ones; what that changes is told."""
    if isinstance(real, Path):
        return real
    if run is not None and _of_captions(options):
        return captioned(run.experiment, real, shape, run.about)
    kind = "image" if run is None else _kind(run, options)
    if run is not None and (options.against is None or kind == "clip"):
        return real_images(run.experiment, real, shape, kind)
    stored = of_source(real, shape)
    found = np.shape(real[0]["image"])
    if found[:2] != shape[:2]:
        warn(f"{real.name}: images, the first of {text(found)}, are made {text(shape)}")
    if run is not None and shape[2] == 1 and shape_of(real, sizes=False)[2] > 1:
        warn(f"{real.name} has colours, {run.folder} draws none: they are not compared")
    return stored


def _print(records: list[Record]) -> None:
    first = records[0]
    table = Table("score", "value", "images", "against", "extractor", box=None)
    table.columns[1].justify = "right"
    for record in records:
        spread = "" if record.deviation is None else f" +- {record.deviation:.2g}"
        table.add_row(
            record.label,
            f"{record.value:.4g}{spread}",
            f"{record.images:,}",
            "-" if record.real_images == 0 else f"{record.real_images or '?':,}",
            record.extractor,
        )
    truncated = "" if first.truncation is None else f", truncation {first.truncation}"
    step = "" if first.step is None else f" at step {first.step}"
    console = Plain()
    console.print(f"{first.source}{step}{truncated}, {first.shape}")
    console.print(table)
