"""jaxgan edit RUN IMAGE OUT: edits an image with a run that was trained on a single one."""

import dataclasses
from pathlib import Path
from typing import Annotated

from jaxgan import pictures
from jaxgan.backend import keep_compilations
from jaxgan.cli.parse import Opening, parse, take_target
from jaxgan.console import say
from jaxgan.errors import UserError
from jaxgan.fields.pixels import read
from jaxgan.files import writing
from jaxgan.latent.one_image import Task, edit
from jaxgan.ranges import Count, Positive, Seed, Share, Within
from jaxgan.run import Run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Opening):
    """What to make of it."""

    task: Task
    """harmonise: a pasted object takes on the image's texture; edit: moved and copied parts lose
    their seams; paint: a drawing becomes a picture; superres: a larger image; animate: a GIF."""
    scale: Count | None = None
    """Scale, from 1 (coarse, changes much) on, at which the image is injected; None: one that suits
    the task. 0, to animate the run's own image: IMAGE then plays no part."""
    mask: Path | None = None
    """Image that is white where IMAGE was edited: all else stays, black or transparent (harmonise,
    edit)."""
    factor: Annotated[float, Within(1, 16, above=True)] = 4.0
    """How much larger superres makes the image."""
    frames: Positive = 50
    """Of an animation."""
    alpha: Share = 0.1
    """How strongly an animation is drawn back to the image, 0 to 1."""
    beta: Share = 0.9
    """How smoothly an animation moves, 0 to 1."""
    seed: Seed = 0
    """Of the noise: equal seeds give equal images."""


def main(argv: list[str]) -> int:
    """Parses, edits, writes."""
    folder, rest = take_target(argv, "edit", "RUN IMAGE OUT")
    given, rest = take_target(rest, f"edit {folder}", "IMAGE OUT")
    name, rest = take_target(rest, f"edit {folder} {given}", "OUT")
    options = parse(
        Options,
        rest,
        prog=f"jaxgan edit {folder} {given} {name}",
        description="Edits an image with a run that was trained on a single one. IMAGE is brought "
        "to the size that the run was trained at (not for superres), OUT is a .png, or a .gif for "
        "animate.",
    )
    out = Path(name)
    kind = ".gif" if options.task == "animate" else ".png"
    if out.suffix != kind:
        raise UserError(f"OUT is {out}: {options.task} writes a {kind}")
    if not out.parent.is_dir() or out.is_dir():
        what = "that is a folder" if out.is_dir() else f"there is no folder {out.parent}"
        raise UserError(f"OUT is {out}: {what}")
    for path in (Path(given), options.mask):
        if path is not None and not path.is_file():
            raise UserError(f"{path} is no file: give an image")
    keep_compilations()
    run = Run(folder, trust_code=options.trust_code)
    made = edit(
        run,
        read(Path(given)),
        options.task,
        scale=options.scale,
        mask=None if options.mask is None else read(options.mask),
        factor=options.factor,
        frames=options.frames,
        alpha=options.alpha,
        beta=options.beta,
        seed=options.seed,
    )
    with writing(out, "OUT"):
        if options.task == "animate":
            pictures.animate(made[:, None], out)
        else:
            pictures.as_image(made).save(out)
    say(f"{out}: {options.task} of {given} by {folder}")
    return 0
