"""Walks through what a generator draws."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from jaxgan.errors import UserError
from jaxgan.fields import Drawable, Image, Label
from jaxgan.ranges import Positive, Seed, checked
from jaxgan.run.open import Run


@checked
def walk(
    run: Run,
    frames: Positive = 60,
    *,
    num: Positive = 16,
    stops: Positive = 4,
    seed: Seed = 0,
    **given: Any,
) -> UInt8[np.ndarray, "f n h w c"]:
    """Frames of `num` walks, each by `stops` drawn items and back to the first.

    Each field goes its own way (`Drawable.between`): Gaussian latents on arcs about the origin,
    labels stay. What is given stays, too.

    Args:
        run: of a system with the use "generate".
        frames: of each walk.
        num: walks.
        stops: items that a walk passes.
        seed: of what is drawn.
        given: what "generate" takes and is not to be drawn, one for all or one for each walk; and
            its options.

    Raises:
        UserError: fewer frames than stops; a system that draws no images.
    """
    if frames < stops:
        raise UserError(f"a walk by {stops} latents in {frames} frames: give at least {stops}")
    items, options = run.split("generate", given)
    takes = run.takes("generate", options)
    name, field = next(iter(run.gives("generate", options).items()))
    if not isinstance(field, Image):
        raise UserError(f"{run.folder} draws {field.text()}: walks are for images")
    for each, taken in takes.items():
        if isinstance(taken, Label) and each not in items:
            items[each] = np.arange(num) % taken.classes
    still = {
        each: np.tile(x, (stops, *[1] * (np.ndim(x) - 1)))
        for each, x in items.items()
        if len(x) > 1
    }
    corners = run.draw(
        "generate", {**items, **still}, numbers=num * stops, seed=seed, options=options
    )
    at = {each: x.reshape(stops, num, *x.shape[1:]) for each, x in corners.items()}
    images = []
    for place in np.arange(frames) * stops / frames:
        corner, part = int(place), jnp.full(num, place % 1, jnp.float32)
        here = {}
        for each, x in at.items():
            taken, here[each] = takes[each], x[corner]
            if isinstance(taken, Drawable):
                here[each] = np.asarray(taken.between(x[corner], x[(corner + 1) % stops], part))
        made = run.apply("generate", here, numbers=num, options=options, chunk=num).made
        images.append(field.from_network(made[name]))
    return np.stack(images)
