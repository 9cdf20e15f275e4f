"""Uses of a generator that draws one image scale by scale, for images of one's own.

Rott Shaham, Dekel, Michaeli, "SinGAN", ICCV 2019, section 4. Where a mask says what was edited, the
authors' code widens it, softens it, and takes everything outside from the image that it trained on;
here from the image that was given, which is the same where that one was edited.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8
from PIL import Image, ImageFilter

from jaxgan import data
from jaxgan.errors import UserError
from jaxgan.system import Pyramid, State, View
from jaxgan.training import pictures
from jaxgan.training.sampling import evaluation_view, resolution_at, shape_at

Task = Literal["harmonise", "edit", "paint", "superres", "animate"]
"""A pasted object takes on the image's texture; moved parts lose their seams; a drawing becomes a
picture; an image gets larger; an image moves."""
TASKS = get_args(Task)

MASKED = {"harmonise": 7, "edit": 20}
"""Tasks that take a mask, and by how much it is widened, pixels where the longer side has 250."""

_SIDE = 250
_BLUR = 5


def edit(
    system: Pyramid,
    state: State,
    image: UInt8[np.ndarray, "h w c"],
    task: str,
    *,
    scale: int | None = None,
    mask: UInt8[np.ndarray, "h w c"] | None = None,
    factor: float = 4.0,
    frames: int = 50,
    alpha: float = 0.1,
    beta: float = 0.9,
    seed: int = 0,
) -> UInt8[np.ndarray, "*f y x c"]:
    """Makes of an image what a system knows of.

    Arguments, results and errors are those of `Run.edit`.
    """
    height, width, channels = shape_at(system, state)
    sizes = system.sizes()
    finest = sizes.index((height, width))
    if task not in TASKS:
        raise UserError(f"no task {task!r}: give one of {', '.join(TASKS)}")
    if mask is not None and task not in MASKED:
        raise UserError(f"{task} takes no mask: leave it out")
    if scale is not None and task == "superres":
        raise UserError("superres takes no scale, it works at the finest: leave it out")
    first = 0 if task == "animate" else 1
    if task != "superres" and finest < first:
        raise UserError(f"{task} begins above the coarsest scale, the only one that is trained yet")
    if scale is None:
        scale = min(default_scale(task, len(sizes)), finest)
    elif not first <= scale <= finest:
        raise UserError(f"scale is {scale}: {task} has {first} to {finest} in this run")
    if not 1 < factor <= 16 or frames < 1 or not 0 <= alpha <= 1 or not 0 <= beta <= 1:
        raise UserError(
            f"factor {factor}, frames {frames}, alpha {alpha} and beta {beta}: factor goes from "
            "above 1 to 16, frames count from 1, and alpha and beta go from 0 to 1"
        )
    use, key = _compiled(system, state), jax.random.key(seed)
    if task == "superres":
        given = _floats(data.image.channels(image, channels))
        return pictures.to_uint8(
            use(lambda view, images: system.enlarge(view, images, key, factor), given)
        )[0]

    def inject(view: View, images: Array, latents: Array) -> Array:
        return system.inject(view, images, latents, scale)

    given = _floats(data.Fit(shape=(height, width, channels), resize=True)(image))
    if task == "animate":
        anchor = use(lambda view: system.reconstruction(view))
        path = walk(anchor, frames, alpha=alpha, beta=beta, seed=seed)
        return pictures.to_uint8(np.concatenate([use(inject, given, z[None]) for z in path]))
    made = use(inject, given, system.draw_latents(key, 1))
    if mask is not None:
        fit = data.Fit(shape=(height, width, 1), resize=True)
        weights = soften(fit(mask)[..., 0] > 127, task)
        made = weights * np.clip(made, -1, 1) + (1 - weights) * given
    return pictures.to_uint8(made)[0]


def reconstruct(system: Pyramid, state: State) -> UInt8[np.ndarray, "h w c"]:
    """The image that a system makes of the latents that stand for its own."""
    use = _compiled(system, state)
    made = use(lambda view: system.generate(view, system.reconstruction(view)[None], None))
    return pictures.to_uint8(made)[0]


def _compiled(system: Pyramid, state: State) -> Callable[..., np.ndarray]:
    """Applies a use, `use(view, *arrays)`, to a State's networks; compiled once for each use."""
    resolution = resolution_at(system, state)
    programs: dict[Callable[..., Any], Callable[..., Any]] = {}

    def apply(use: Callable[..., Any], *arrays: Any) -> np.ndarray:
        if use not in programs:
            programs[use] = jax.jit(
                lambda state, *arrays: use(evaluation_view(system, state, resolution), *arrays)
            )
        return np.asarray(jax.device_get(programs[use](state, *arrays)))

    return apply


def _floats(image: UInt8[np.ndarray, "h w c"]) -> Float[np.ndarray, "1 h w c"]:
    return image[None].astype(np.float32) / 127.5 - 1


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
    picture = Image.fromarray(np.where(wide, np.uint8(255), np.uint8(0)))
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
