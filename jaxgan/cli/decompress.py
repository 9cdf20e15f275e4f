"""jaxgan decompress FILE|FOLDER OUT: makes images of what `jaxgan compress` wrote."""

import dataclasses
from pathlib import Path

from jaxgan import pictures
from jaxgan.backend import keep_compilations
from jaxgan.bucket import as_path
from jaxgan.cli.parse import Opening, parse, take_target
from jaxgan.codec import Codec
from jaxgan.codec.files import LARGEST, RUNS, SUFFIX, naming, run_of, targets
from jaxgan.codec.header import of_run
from jaxgan.console import say
from jaxgan.errors import UserError
from jaxgan.fields.pixels import MAX_PIXELS
from jaxgan.fields.video import FILMS, write_film
from jaxgan.files import read_given, writing
from jaxgan.ranges import Positive
from jaxgan.run import Run
from jaxgan.run.folder import BEST


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Opening):
    """By which run."""

    run: str | None = None
    """The run that the files were written by, at the step of then, by its newest checkpoint or its
    best; None: it is looked for in the folder runs."""
    max_pixels: Positive = MAX_PIXELS
    """Pixels of the largest image, or of all frames of a clip together, that are decoded."""


def main(argv: list[str]) -> int:
    """Parses, decompresses, writes."""
    given, rest = take_target(argv, "decompress", "FILE|FOLDER OUT")
    out, rest = take_target(rest, f"decompress {given}", "OUT")
    options = parse(
        Options,
        rest,
        prog=f"jaxgan decompress {given} {out}",
        description=f"Makes a .png of a {SUFFIX}, or a folder of them, by the run that wrote it; "
        "of a clip a .webp without loss, or .gif or .mp4 as OUT says.",
    )
    keep_compilations()
    ending = Path(out).suffix.lower()
    moves = Path(given).is_file() and ending in FILMS
    places = targets(
        Path(given),
        Path(out),
        lambda path: sorted(each.name for each in path.glob(f"*{SUFFIX}") if each.is_file()),
        Path(out).suffix if moves or ending == ".png" else ".png",
    )
    codecs: dict[bytes, Codec] = {}
    for source, target in places.items():
        content = read_given(source, limit=LARGEST)
        with naming(source):
            digest = of_run(content)
        if digest not in codecs:
            codecs[digest] = _opened(source, digest, options)
        clip = codecs[digest].moves
        if clip != moves and Path(given).is_file():
            holds = f"a clip: give a {', '.join(FILMS)}" if clip else "an image: give a .png"
            raise UserError(f"OUT is {out}, and {source} holds {holds}")
        with naming(source):
            image = codecs[digest].decompress(content, max_pixels=options.max_pixels)
        with writing(target, "OUT"):
            target.parent.mkdir(parents=True, exist_ok=True)
            if clip:
                write_film(image[:, None], target if moves else target.with_suffix(".webp"))
            else:
                pictures.as_image(image).save(target)
    kinds = {codec.moves for codec in codecs.values()}
    what = "files" if len(kinds) > 1 else "clips" if True in kinds else "images"
    count = f"1 {what[:-1]}" if len(places) == 1 else f"{len(places):,} {what}"
    say(f"{out}: {count} of {given}")
    return 0


def _opened(source: Path, digest: bytes, options: Options) -> Codec:
    folder = options.run or run_of(digest)
    if folder is None:
        raise UserError(
            f"{source} was written by a run ({digest.hex()}) that is not in the folder {RUNS}: "
            "give --run"
        )
    kept = (False, True) if (as_path(folder) / BEST).is_dir() else (False,)
    for best in kept:
        run = Run(folder, best=best, trust_code=options.trust_code)
        codec = Codec(run.system, run.stored, name=run.name)
        if codec.digest.startswith(digest):
            return codec
    raise UserError(
        f"{source} was written by another run or checkpoint ({digest.hex()}) than {folder} has, "
        "newest or best: give the run as it was then"
    )
