"""Walks through what a generator draws."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from jaxgan.errors import UserError
from jaxgan.fields import Image, Label
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

    Each field goes its own way (`Field.between`): Gaussian latents on arcs about the origin,
    labels stay. What is given stays, too; but several sentences are where all walks stop, and
    then all else stays, so that only they make the difference.

    Args:
        run: of a system with the use "generate".
        frames: of each walk.
        num: walks.
        stops: items that a walk passes; of given sentences, these.
        seed: of what is drawn.
        given: what "generate" takes and is not to be drawn, one for all or one for each walk; and
            its options.

    Raises:
        UserError: fewer frames than stops; a system that draws no images.
    """
    items, options = run.split("generate", given)
    takes = run.takes("generate", options)
    passed = {each: x for each, x in items.items() if takes[each].walks and len(x) > 1}
    stops = len(next(iter(passed.values()))) if passed else stops
    if any(len(x) != stops for x in passed.values()):
        raise UserError(f"a walk needs as many of each of {', '.join(passed)}: give as many")
    if frames < stops:
        raise UserError(f"a walk by {stops} stops in {frames} frames: give at least {stops}")
    name, field = next(iter(run.gives("generate", options).items()))
    if not isinstance(field, Image):
        raise UserError(f"{run.folder} draws {field.text()}: walks are for images")
    for each, taken in takes.items():
        if isinstance(taken, Label) and each not in items:
            items[each] = np.arange(num) % taken.classes
    still = {
        each: np.tile(x, (stops, *[1] * (np.ndim(x) - 1)))
        for each, x in items.items()
        if len(x) > 1 and each not in passed
    }
    still |= {each: np.repeat(x, num, 0) for each, x in passed.items()}
    numbers = np.tile(np.arange(num), stops) if passed else np.arange(num * stops)
    corners = run.draw("generate", {**items, **still}, numbers=numbers, seed=seed, options=options)
    at = {each: x.reshape(stops, num, *x.shape[1:]) for each, x in corners.items()}
    images = []
    for place in np.arange(frames) * stops / frames:
        corner, part = int(place), jnp.full(num, place % 1, jnp.float32)
        here = {}
        for each, x in at.items():
            ends = x[corner], x[(corner + 1) % stops]
            here[each] = np.asarray(takes[each].between(*ends, part))
        made = run.apply("generate", here, numbers=num, options=options, chunk=num).made
        images.append(field.from_network(made[name]))
    return np.stack(images)
