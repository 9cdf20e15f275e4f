"""jaxgan compress RUN IMAGE|FOLDER OUT: makes small files of images or clips, by a run."""

import dataclasses
from pathlib import Path
from typing import Any

from jaxgan.backend import keep_compilations
from jaxgan.cli.options import Given, with_use
from jaxgan.cli.parse import Opening, parse, take_target, trusts
from jaxgan.codec import Codec
from jaxgan.codec.codec import NEEDED
from jaxgan.codec.files import SUFFIX, clips, remember, targets
from jaxgan.console import say
from jaxgan.data.folder import listing
from jaxgan.fields.pixels import MAX_PIXELS, read
from jaxgan.fields.video import read_clip
from jaxgan.files import write_whole, writing
from jaxgan.metrics.base import warn
from jaxgan.ranges import Positive
from jaxgan.run import Run
from jaxgan.run.folder import is_run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Opening):
    """Which checkpoint, and how images are read."""

    best: bool = False
    """Compress by the run's best checkpoint, not the newest."""
    max_pixels: Positive = MAX_PIXELS
    """Height times width of the largest image file that is decoded."""


def main(argv: list[str]) -> int:
    """Parses, compresses, writes."""
    folder, rest = take_target(argv, "compress", "RUN IMAGE|FOLDER OUT")
    given, rest = take_target(rest, f"compress {folder}", "IMAGE|FOLDER OUT")
    out, rest = take_target(rest, f"compress {folder} {given}", "OUT")
    encode = NEEDED[0]
    kind: type = Options
    if is_run(folder) or not {"-h", "--help"} & set(rest):
        run = Run(folder, trust_code=trusts(rest))
        if encode in run.system.uses():
            kind = with_use(Options, run, encode, known=(next(iter(run.takes(encode))),))
    options: Any = parse(
        kind,
        rest,
        prog=f"jaxgan compress {folder} {given} {out}",
        description="Compresses an image, or a clip, to a file, or a folder of them to a folder of "
        f"files, by a run that has learned to. OUT is a {SUFFIX}, or a folder of them. What else a "
        "run takes of each image, such as masks, is a file or, for a folder, a folder in the same "
        "order.",
    )
    keep_compilations()
    run = Run(folder, best=True, trust_code=options.trust_code) if options.best else run
    codec = Codec(run.system, run.stored, name=run.name)
    reading = read_clip if codec.moves else read
    names = clips if codec.moves else (lambda path: listing(path)[1])
    places = targets(Path(given), Path(out), names, SUFFIX)
    given_more = Given.of(run, encode, options, Options)
    given_more.check(len(places))
    remember(run.folder, codec.digest)
    size = pixels = 0
    clear: list[Path] = []
    for row, (source, target) in enumerate(places.items()):
        more = {name: each[0] for name, each in given_more.rows(range(row, row + 1)).items()}
        whole = reading(source, max_pixels=options.max_pixels)
        if whole.shape[-1] in (2, 4) and (whole[..., -1] != 255).any():
            clear.append(source)
        written = codec.compress(whole, **more)
        with writing(target, "OUT"):
            target.parent.mkdir(parents=True, exist_ok=True)
            write_whole(target, written.content)
        size += len(written.content)
        pixels += written.image.size // written.image.shape[-1]
    if clear:
        more_such = f" and {len(clear) - 1:,} more" if clear[1:] else ""
        warn(f"{clear[0]}{more_such}: what is transparent was put on white")
    what = "clip" if codec.moves else "image"
    count = f"1 {what}" if len(places) == 1 else f"{len(places):,} {what}s"
    say(f"{out}: {count} in {size:,} bytes, {8 * size / pixels:.3f} bits per pixel, by {folder}")
    return 0
