"""Style mixing: images with the coarse styles of one and the fine styles of another."""

import itertools
from typing import Any

import numpy as np
from jaxtyping import UInt8

from jaxgan.errors import UserError
from jaxgan.ranges import Positive, Seed, checked
from jaxgan.run.open import Run


@checked
def mix(
    run: Run,
    num: Positive = 6,
    *,
    seed: Seed = 0,
    other: Seed = 1,
    rows: Positive = 2,
    **given: Any,
) -> UInt8[np.ndarray, "r c h w x"]:
    """A style-mixing table (StyleGAN, figure 3).

    The first row shows the `num` images of the seed `other`, after an empty place; the first
    column `rows` images of `seed`, three times. In between are the images of the first column
    with the other image's styles in their coarse layers, then in their middle, then in their
    fine ones: up to 4/18 of the layers, up to 8/18, and the rest.

    Args:
        run: of a system with the uses "style" and "synthesize".
        num: columns.
        seed: of the images whose styles are replaced.
        other: of the images that give styles.
        rows: images of `seed`.
        given: what else "style" takes, such as psi.

    Raises:
        UserError: a system without these uses.
    """
    if missing := {"style", "synthesize"} - set(run.system.uses()):
        raise UserError(
            f"{run.name} has no styles to mix ({' and '.join(sorted(missing))} missing): leave out "
            "--mix, which is for generators with styles"
        )
    items, _ = run.split("style", given)

    def styles_of(seed: int, count: int) -> np.ndarray:
        return run.apply("style", items, numbers=count, seed=seed, chunk=count).made["style"]

    theirs, ours = styles_of(other, num), styles_of(seed, rows)
    layers = theirs.shape[1]
    cuts = [0, max(1, round(layers * 4 / 18)), max(2, round(layers * 8 / 18)), layers]
    table = [np.concatenate([theirs[:1], theirs])]  # the first one's place stays empty
    for begin, end in itertools.pairwise(cuts):
        for row in ours:
            mixed = np.broadcast_to(row, theirs.shape).copy()
            mixed[:, begin:end] = theirs[:, begin:end]
            table.append(np.concatenate([row[None], mixed]))
    # One number for all, so that noise, where there is any, is the same.
    made = run.apply(
        "synthesize",
        {"style": np.concatenate(table)},
        numbers=np.zeros(len(table) * (num + 1), int),
    ).made
    name, field = next(iter(run.gives("synthesize").items()))
    images = field.from_network(made[name]).reshape(len(table), num + 1, *made[name].shape[1:])
    images[0, 0] = 255
    return images
