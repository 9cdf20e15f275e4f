"""Edits images with a generator that was trained on a single one, scale by scale.

Rott Shaham, Dekel, Michaeli, "SinGAN", ICCV 2019, section 4. Works with any system that has the
uses "inject" (of the option `scale`: a number takes the noise of that scale and of those above it),
"reconstruct" (gives that noise, too) and "enlarge" (of the option `factor`).

Where a mask says what was edited, the authors' code widens it, softens it, and takes everything
outside from the image that it trained on; here from the image that was given, which is the same
where that one was edited.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image as Pillow
from PIL import ImageFilter

from jaxgan.errors import UserError
from jaxgan.fields import Drawable, Field, Framing, Image
from jaxgan.fields.pixels import covering
from jaxgan.ranges import Count, Positive, Seed, Share, Within, checked
from jaxgan.run.open import Run
from jaxgan.system import taken_by, use_of

Task = Literal["harmonise", "edit", "paint", "superres", "animate"]
"""A pasted object takes on the image's texture; moved parts lose their seams; a drawing becomes a
picture; an image gets larger; an image moves."""
TASKS = get_args(Task)

NEEDS = {"superres": ("enlarge",), "animate": ("inject", "reconstruct")}
"""Uses that a task needs; "inject" where nothing is said."""

MASKED = {"harmonise": 7, "edit": 20}
"""Tasks that take a mask, and by how much it is widened, pixels where the longer side has 250."""

_SIDE = 250
_BLUR = 5


@checked
def edit(
    run: Run,
    image: UInt8[np.ndarray, "h w i"],
    task: str,
    *,
    scale: Count | None = None,
    mask: UInt8[np.ndarray, "v u m"] | None = None,
    factor: Annotated[float, Within(1, 16, above=True)] = 4.0,
    frames: Positive = 50,
    alpha: Share = 0.1,
    beta: Share = 0.9,
    seed: Seed = 0,
) -> UInt8[np.ndarray, "*f y x c"]:
    """Edits an image with a run that was trained on a single one.

    Args:
        run: of a system with the uses that the task needs.
        image: of any size and 1 to 4 channels. It is brought to the size of the run, the middle of
            it if it is of another aspect; not for "superres".
        task: one of `TASKS`.
        scale: at which the image is injected, from 1 (coarse, changes much) on; None: one that
            suits the task. "animate" also has 0, which moves the run's own image.
        mask: white where the image was edited: outside of it, it stays. For "harmonise" and
            "edit". Where it is transparent nothing was edited.
        factor: by how much "superres" makes it larger.
        frames: of an animation.
        alpha: how strongly an animation is drawn back to the image, 0 to 1.
        beta: how smoothly it moves, 0 to 1.
        seed: of the noise.

    Returns [h, w, c], or for "animate" [frames, h, w, c].

    Raises:
        UserError: a system without these uses; no such task or scale; a mask for another task;
            numbers that cannot be.
    """
    if task not in TASKS:
        raise UserError(f"no task {task!r}: give one of {', '.join(TASKS)}")
    _require(run, task, NEEDS.get(task, ("inject",)))
    if mask is not None and task not in MASKED:
        raise UserError(f"{task} takes no mask: leave it out")
    if task == "superres":
        if scale is not None:
            raise UserError("superres takes no scale, it works at the finest: leave it out")
        return _shown(run, "enlarge", {"image": image}, seed=seed, factor=factor)[0]
    scale = _scale(run, task, scale)
    if task == "animate":
        path = _path(run, scale, frames, alpha=alpha, beta=beta, seed=seed)
        moving = [_shown(run, "inject", {"image": image, **z}, scale=scale) for z in path]
        return np.concatenate(moving)
    if mask is None:
        return _shown(run, "inject", {"image": image}, seed=seed, scale=scale)[0]
    made, taken = _applied(run, "inject", {"image": image}, seed=seed, scale=scale)
    given = taken["image"]
    marked = Image((*given.shape[1:3], 1)).fit(covering(mask), Framing(resize=True)) > 127
    if not marked.any():
        raise UserError(
            "the mask marks nothing: no part of it is white and opaque; paint white what was edited"
        )
    weights = soften(marked[..., 0], task)
    made = weights * np.clip(made, -1, 1) + (1 - weights) * given
    return run.gives("inject")["image"].from_network(made)[0]


def reconstruct(run: Run) -> UInt8[np.ndarray, "h w c"]:
    """Reconstructs the training image from its fixed noise.

    Raises:
        UserError: a system that cannot.
    """
    _require(run, "reconstruct", ("reconstruct",))
    return _shown(run, "reconstruct", {})[0]


def _require(run: Run, task: str, needed: tuple[str, ...]) -> None:
    uses = run.system.uses()
    if missing := [name for name in needed if name not in uses]:
        raise UserError(
            f"{run.name} did not learn to {task} ({' and '.join(missing)} missing): it has "
            f"{', '.join(uses)}; open a run that was trained on a single image"
        )


def _applied(
    run: Run, use: str, given: dict[str, Any], *, seed: int = 0, **options: Any
) -> tuple[Any, dict[str, Any]]:
    """The image that one row of a use gives, [1, h, w, c], and what the use took."""
    items, chosen = run.split(use, {**given, **options})
    # Chunks are computed whole, and this is one row.
    applied = run.apply(use, items, numbers=1, seed=seed, options=chosen, chunk=1)
    return applied.made["image"], applied.taken


def _shown(
    run: Run, use: str, given: dict[str, Any], *, seed: int = 0, **options: Any
) -> UInt8[np.ndarray, "1 h w c"]:
    made, _ = _applied(run, use, given, seed=seed, **options)
    return run.gives(use)["image"].from_network(made)


def _latents(run: Run, scale: int, *, trained: bool = True) -> dict[str, Field]:
    """Noise that "inject" takes at a scale; of the scales that are `trained`, or of all."""
    options = run.split("inject", {"scale": scale})[1]
    resolution = run.resolution if trained else None
    takes = taken_by(run.system, use_of(run.system, "inject"), options, resolution)
    return {n: taken.field for n, taken in takes.items() if isinstance(taken.field, Drawable)}


def _scale(run: Run, task: str, scale: int | None) -> int:
    """The scale that is asked for, or one that suits the task."""
    finest, first = len(_latents(run, 0)) - 1, 0 if task == "animate" else 1
    if finest < first:
        raise UserError(f"{task} begins above the coarsest scale, the only one that is trained yet")
    if scale is None:
        return min(default_scale(task, len(_latents(run, 0, trained=False))), finest)
    if not first <= scale <= finest:
        raise UserError(f"scale is {scale}: {task} has {first} to {finest} in this run")
    return scale


def _path(
    run: Run, scale: int, frames: int, *, alpha: float, beta: float, seed: int
) -> Iterator[dict[str, Float[np.ndarray, "1 h w c"]]]:
    """Noise of a scale and of those above it, for each frame of an animation."""
    anchor = run.apply("reconstruct", numbers=1, chunk=1).made
    names, taken = list(_latents(run, 0)), set(_latents(run, scale))
    ends = np.cumsum([anchor[name].size for name in names])
    start = np.concatenate([anchor[name].ravel() for name in names])
    for z in walk(start, frames, alpha=alpha, beta=beta, seed=seed):
        parts = zip(names, np.split(z, ends[:-1]), strict=True)
        yield {n: part.reshape(anchor[n].shape) for n, part in parts if n in taken}


def default_scale(task: str, scales: int) -> int:
    """Where an image is injected: paintings low, so that little of their texture is left.

    The paper and its code leave it to the user; an animation begins at 2 there.
    """
    finest = scales - 1
    if task == "animate":
        return min(2, finest)
    return max(1, round(finest * (0.2 if task == "paint" else 0.6)))


def soften(mask: Bool[np.ndarray, "h w"], task: str) -> Float[np.ndarray, "h w 1"]:
    """Weights in [0, 1] of what is edited: the mask, widened by a disk and blurred."""
    by = max(mask.shape) / _SIDE
    reach = MASKED[task] * by
    wide = np.zeros(mask.shape, bool)
    height, width = mask.shape
    for down in range(-int(reach), int(reach) + 1):
        for right in range(-int(reach), int(reach) + 1):
            if down**2 + right**2 <= reach**2:
                here = (
                    slice(max(0, down), height + min(0, down)),
                    slice(max(0, right), width + min(0, right)),
                )
                there = (
                    slice(max(0, -down), height - max(0, down)),
                    slice(max(0, -right), width - max(0, right)),
                )
                wide[here] |= mask[there]
    picture = Pillow.fromarray(np.where(wide, np.uint8(255), np.uint8(0)))
    soft = np.asarray(picture.filter(ImageFilter.GaussianBlur(_BLUR * by)), np.float32)
    low, high = soft.min(), soft.max()
    return ((soft - low) / max(high - low, 1) if high > low else soft / 255)[..., None]


def walk(
    anchor: Float[np.ndarray, " z"], frames: int, *, alpha: float, beta: float, seed: int
) -> Iterator[Float[np.ndarray, " z"]]:
    """Latents that wander about `anchor` (the paper's supplement, equation 4).

    Args:
        anchor: where they are drawn back to.
        frames: how many.
        alpha: how strongly they are, from 0 to 1: how alike frames look to the image.
        beta: what a step keeps of the one before, from 0 to 1: how smoothly they go.
        seed: of the steps.
    """
    rng = np.random.default_rng(seed)

    def noise() -> Float[np.ndarray, " z"]:
        return rng.standard_normal(anchor.shape, np.float32)

    before, now = anchor, 0.95 * anchor + 0.05 * noise()
    for _ in range(frames):
        step = beta * (now - before) + (1 - beta) * noise()
        before, now = now, alpha * anchor + (1 - alpha) * (now + step)
        yield now.astype(np.float32)
