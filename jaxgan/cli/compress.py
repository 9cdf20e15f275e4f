"""jaxgan compress RUN IMAGE|FOLDER OUT: makes small files of images, by a run."""

import dataclasses
from pathlib import Path

from jaxgan.backend import keep_compilations
from jaxgan.cli.parse import Opening, parse, take_target
from jaxgan.codec import Codec
from jaxgan.codec.files import SUFFIX, remember, targets
from jaxgan.console import say
from jaxgan.data.folder import listing
from jaxgan.fields.pixels import MAX_PIXELS, read
from jaxgan.files import write_whole, writing
from jaxgan.ranges import Positive
from jaxgan.run import Run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Opening):
    """Which checkpoint, and how images are read."""

    best: bool = False
    """Compress by the run's best checkpoint, not the newest; decompress so, too."""
    max_pixels: Positive = MAX_PIXELS
    """Height times width of the largest image file that is decoded."""


def main(argv: list[str]) -> int:
    """Parses, compresses, writes."""
    folder, rest = take_target(argv, "compress", "RUN IMAGE|FOLDER OUT")
    given, rest = take_target(rest, f"compress {folder}", "IMAGE|FOLDER OUT")
    out, rest = take_target(rest, f"compress {folder} {given}", "OUT")
    options = parse(
        Options,
        rest,
        prog=f"jaxgan compress {folder} {given} {out}",
        description="Compresses an image to a file, or a folder of images to a folder of files, by "
        f"a run that has learned to. OUT is a {SUFFIX}, or a folder of them.",
    )
    keep_compilations()
    run = Run(folder, best=options.best, trust_code=options.trust_code)
    codec = Codec(run.system, run.stored, name=run.name)
    places = targets(Path(given), Path(out), lambda path: listing(path)[1], SUFFIX)
    size = pixels = 0
    for source, target in places.items():
        written = codec.compress(read(source, max_pixels=options.max_pixels))
        with writing(target, "OUT"):
            target.parent.mkdir(parents=True, exist_ok=True)
            write_whole(target, written.content)
        size += len(written.content)
        pixels += written.image.shape[0] * written.image.shape[1]
    remember(run.folder, codec.digest)
    count = "1 image" if len(places) == 1 else f"{len(places):,} images"
    say(f"{out}: {count} in {size:,} bytes, {8 * size / pixels:.3f} bits per pixel, by {folder}")
    return 0
