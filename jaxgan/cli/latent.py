"""jaxgan latent RUN TASK INPUT...: edits images by their codes."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxgan import pictures
from jaxgan.backend import keep_compilations
from jaxgan.cli.invert import Searching, opened, search, searching
from jaxgan.cli.options import only
from jaxgan.cli.parse import parse, take_target
from jaxgan.console import say
from jaxgan.errors import UserError, nearest
from jaxgan.fields import Field
from jaxgan.files import refuse_bucket, writing
from jaxgan.latent import editing
from jaxgan.latent.space import Kept, Space, noisy, read_codes, write_codes
from jaxgan.ranges import Count, Number, Positive
from jaxgan.run import Run

_INPUTS = {
    "morph": ("FIRST", "SECOND"),
    "transfer": ("CONTENT", "STYLE"),
    "express": ("BASE", "NEUTRAL", "EXPRESSIVE"),
    "blend": ("FIRST", "SECOND"),
    "inpaint": ("PHOTO",),
    "scribble": ("ORIGINAL", "DRAWN"),
}
_PHOTOS = {"inpaint": 0, "scribble": 1}
"""Which input has to be a photograph."""
_ONLY = {"frames": ("morph",), "layers": ("transfer",), "strength": ("express",)}
"""Options, and the tasks that they are for."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Searching):
    """What to make of them."""

    out: Path
    """FILE.png: the inputs, then what was made of them; FILE.gif (morph); FILE.npz: codes (morph,
    transfer, express)."""
    frames: Positive = 30
    """Of a morph, its ends included."""
    layers: Count | None = None
    """Coarse layers that transfer keeps of CONTENT; None: one half."""
    strength: Number = 1.0
    """How much express adds of the difference between NEUTRAL and EXPRESSIVE."""
    mask: Path | None = None
    """Image that is white where SECOND's activations are copied (blend), or PHOTO is filled
    (inpaint)."""
    layer: str | None = None
    """Path of the generator's module whose activations blend copies: see `jaxgan info RUN`."""


def main(argv: list[str]) -> int:
    """Parses, edits, writes."""
    folder, rest = take_target(argv, "latent", "RUN TASK INPUT...")
    task, rest = take_target(rest, f"latent {folder}", "TASK INPUT...")
    helps = rest == ["--help"] and task == "TASK"
    if task not in _INPUTS and not helps:
        raise UserError(
            f"no task {task!r}: give one of {', '.join(_INPUTS)}{nearest(task, _INPUTS)}"
        )
    wanted = _INPUTS.get(task, ("INPUT...",))
    names = []
    while rest and not rest[0].startswith("-"):
        names.append(rest.pop(0))
    options = parse(
        Options,
        rest,
        prog=f"jaxgan latent {folder} {task} {' '.join(wanted)}",
        description="Edits images by their codes. An input is codes.npz of `jaxgan invert` (of "
        "several, codes.npz:2 is the second), or a photograph, which is inverted first. Tasks: "
        + ", ".join(f"{name} {' '.join(each)}" for name, each in _INPUTS.items()),
    )
    if len(names) != len(wanted):
        raise UserError(f"{task} takes {' '.join(wanted)}, not {len(names)} inputs")
    only(options, Options, _ONLY, [task])
    _check(task, options)
    keep_compilations()
    run = Run(folder, best=options.best, trust_code=options.trust_code)
    space = Space.of(run, options.space or Space.finest(run).name)
    if task in _PHOTOS:
        return _by_photo(task, folder, names, space, options)
    return _by_codes(task, folder, _inputs(names, space, options), space, options)


def _check(task: str, options: Options) -> None:
    """Refuses what could not be made or written, before anything is computed."""
    out = options.out
    refuse_bucket(out)
    kinds = {
        "morph": (".gif", ".png", ".npz"),
        "transfer": (".png", ".npz"),
        "express": (".png", ".npz"),
    }.get(task, (".png",))
    if out.suffix not in kinds:
        raise UserError(f"--out is {out}: {task} writes a {' or '.join(kinds)}")
    if not out.parent.is_dir() or out.is_dir():
        raise UserError(f"--out is {out}: there is no folder {out.parent}, or it is one itself")
    masked = task in ("blend", "inpaint")
    if masked != (options.mask is not None):
        raise UserError(
            f"{task} needs --mask: give an image" if masked else f"{task} takes no --mask"
        )
    if options.mask is not None and not options.mask.is_file():
        raise UserError(f"{options.mask} is no file: give an image")
    if (task == "blend") != (options.layer is not None):
        needs = "needs --layer: give a path that `jaxgan info RUN` shows, such as synthesis/conv3"
        raise UserError(f"{task} {needs if task == 'blend' else 'takes no --layer'}")


def _inputs(names: Sequence[str], space: Space, options: Options) -> list[Kept]:
    """Codes of files, and of photographs, which are all inverted at once."""
    found: list[Kept | None] = [_coded(name, space) for name in names]
    photos = [Path(name) for name, each in zip(names, found, strict=True) if each is None]
    if photos:
        made = search(space.run, photos, options)
        rows = (
            Kept(code=code, others={name: x[row] for name, x in made.others.items()})
            for row, code in enumerate(made.codes)
        )
        found = [next(rows) if each is None else each for each in found]
    return [each for each in found if each is not None]


def _coded(name: str, space: Space) -> Kept | None:
    """The code of an .npz, or of a row of it; None for photographs."""
    path, _, row = name.rpartition(":") if not Path(name).exists() else (name, "", "")
    file = Path(path or name)
    if file.suffix != ".npz":
        if not Path(name).is_file():
            raise UserError(f"{name} is no file: give codes (.npz) or an image")
        return None
    _, codes = read_codes(space.run, file, space.name)
    if row and not (row.isdigit() and 1 <= int(row) <= len(codes)):
        raise UserError(f"{name}: {file} holds codes 1 to {len(codes)}")
    if not row and len(codes) > 1:
        raise UserError(f"{file} holds {len(codes)} codes: say which, such as {file}:1")
    return codes[int(row or 1) - 1]


def _beside(
    task: str, inputs: Sequence[Kept], space: Space, share: Float[np.ndarray, " f"]
) -> dict[str, Any]:
    """What else the images are made of: what inputs have in common, or what lies in between.

    Raises:
        UserError: labels, or what else has nothing in between, that differ.
    """
    made: dict[str, Any] = {}
    everything = {name: None for each in inputs for name in each.others}
    options = space.run.split(space.use, noisy(everything))[1]
    takes = space.run.takes(space.use, options)
    for name in everything:
        values = [each.others[name] for each in inputs if name in each.others]
        if len(values) < len(inputs):
            say(f"{name} is left out: not all inputs have it")
        elif all(np.array_equal(x, values[0]) for x in values):
            made[name] = np.repeat(values[0][None], len(share), 0)
        elif type(takes[name]).between is Field.between:
            raise UserError(
                f"the inputs differ in their {name}: {task} is for inputs of one; invert them with "
                f"the same --{name}"
            )
        elif task == "morph":
            ends = [jnp.asarray(np.repeat(x[None], len(share), 0)) for x in values]
            made[name] = np.asarray(takes[name].between(ends[0], ends[1], jnp.asarray(share)))
        else:
            say(f"{name} is that of {_INPUTS[task][0]}")
            made[name] = values[0][None]
    return {**made, **noisy(made)}


def _by_codes(task: str, folder: str, inputs: list[Kept], space: Space, options: Options) -> int:
    codes = [each.code for each in inputs]
    share = np.linspace(0, 1, options.frames if task == "morph" else 1, dtype=np.float32)
    given = _beside(task, inputs, space, share)
    if task == "blend":
        assert options.mask is not None
        assert options.layer is not None
        blended = editing.blend(space, codes[0], codes[1], options.mask, options.layer, **given)
        return _show(task, folder, inputs, space, options, blended[None])
    if task == "morph":
        made = editing.morph(space, codes[0], codes[1], options.frames)
    elif task == "transfer":
        made = editing.transfer(space, codes[0], codes[1], options.layers)[None]
    else:
        made = editing.express(space, codes[0], codes[1], codes[2], options.strength)[None]
    if options.out.suffix == ".npz":
        rows = {name: x for name, x in given.items() if name != "noise"}
        write_codes(options.out, space, made, **rows)
        say(f"{options.out}: {len(made)} codes, {task} by {folder}")
        return 0
    numbers = np.zeros(len(made), int)
    return _show(task, folder, inputs, space, options, space.images(made, numbers=numbers, **given))


def _show(
    task: str,
    folder: str,
    inputs: list[Kept],
    space: Space,
    options: Options,
    made: np.ndarray,
) -> int:
    """Writes the inputs' images and what was made; of a morph, that alone."""
    show, number = space.image.from_network, np.zeros(1, int)
    with writing(options.out):
        if options.out.suffix == ".gif":
            pictures.animate(show(made)[:, None], options.out)
        else:
            before = [space.images(x.code[None], numbers=number, **x.given) for x in inputs]
            images = made if task == "morph" else np.concatenate([*before, made])
            pictures.grid(show(images), len(images)).save(options.out)
    say(f"{options.out}: {task} by {folder}")
    return 0


def _by_photo(task: str, folder: str, names: Sequence[str], space: Space, options: Options) -> int:
    photo = Path(names[_PHOTOS[task]])
    image = opened(photo, space)
    how = searching(options)
    if task == "inpaint":
        assert options.mask is not None
        made, found = editing.inpaint(space.run, image, options.mask, space.name, **how)
        before = []
    else:
        # --steps are those of the scribbles: the original's code is sought as by `jaxgan invert`.
        own = dataclasses.replace(options, noise=0, steps=None)
        (original,) = _inputs(names[:1], space, own)
        beside = {name: x[None] for name, x in original.others.items()}
        made, found = editing.scribble(
            space.run, original.code, image, space.name, **{**beside, **how}
        )
        before = [space.images(original.code[None], numbers=np.zeros(1, int), **original.given)]
    shown = space.image.from_network(np.concatenate([*before, found.photos]))
    with writing(options.out):
        pictures.grid(np.concatenate([shown, made[None]]), len(shown) + 1).save(options.out)
    say(f"{options.out}: {task} of {photo} by {folder}")
    return 0
