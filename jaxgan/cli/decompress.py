"""jaxgan decompress FILE|FOLDER OUT: makes images of what `jaxgan compress` wrote."""

import dataclasses
from pathlib import Path

from jaxgan import pictures
from jaxgan.backend import keep_compilations
from jaxgan.cli.parse import Opening, parse, take_target
from jaxgan.codec import Codec
from jaxgan.codec.files import RUNS, SUFFIX, content_of, naming, run_of, targets
from jaxgan.codec.header import of_run
from jaxgan.console import say
from jaxgan.errors import UserError
from jaxgan.fields.video import FILMS, write_film
from jaxgan.files import writing
from jaxgan.run import Run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Opening):
    """By which run."""

    run: str | None = None
    """The run that the files were written by; None: it is looked for in the folder runs."""
    best: bool = False
    """Take the run's best checkpoint, not the newest."""


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
    moves = Path(given).is_file() and Path(out).suffix in FILMS
    places = targets(
        Path(given),
        Path(out),
        lambda path: sorted(each.name for each in path.glob(f"*{SUFFIX}") if each.is_file()),
        Path(out).suffix if moves else ".png",
    )
    codecs: dict[bytes, Codec] = {}
    for source, target in places.items():
        content = content_of(source)
        with naming(source):
            digest = of_run(content)
        if digest not in codecs:
            codecs[digest] = _opened(source, digest, options)
        with naming(source):
            image = codecs[digest].decompress(content)
        if codecs[digest].moves != moves and Path(given).is_file():
            holds = (
                f"a clip: give a {', '.join(FILMS)}" if image.ndim == 4 else "an image: give a .png"
            )
            raise UserError(f"OUT is {out}, and {source} holds {holds}")
        with writing(target, "OUT"):
            target.parent.mkdir(parents=True, exist_ok=True)
            if codecs[digest].moves:
                write_film(image[:, None], target if moves else target.with_suffix(".webp"))
            else:
                pictures.as_image(image).save(target)
    count = "1 image" if len(places) == 1 else f"{len(places):,} images"
    say(f"{out}: {count} of {given}")
    return 0


def _opened(source: Path, digest: bytes, options: Options) -> Codec:
    folder = options.run or run_of(digest)
    if folder is None:
        raise UserError(
            f"{source} was written by a run ({digest.hex()}) that is not in the folder {RUNS}: "
            "give --run"
        )
    run = Run(folder, best=options.best, trust_code=options.trust_code)
    return Codec(run.system, run.stored, name=run.name)
