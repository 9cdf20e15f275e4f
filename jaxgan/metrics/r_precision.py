"""R-precision: do images show what their sentences say?

Xu et al. 2018, "AttnGAN", section 4: how often an image's own caption is the nearest to it of 100,
the other 99 drawn at random. There image and text encoders were trained together; here the text
encoder is the run's own, and images are read by `jaxgan.metrics.regressor`. Chance is 0.01.

Both sides are of the same captions, each item's first: `num` generated images go round them (4,400
are 10 of each of 440), and real images count whose caption was drawn. The other 99 are of all that
the real images have. Of an image only what was read off it is kept.
"""

from typing import Any

import numpy as np

from jaxgan.errors import UserError
from jaxgan.metrics import regressor
from jaxgan.metrics.base import Columns, Score, joined
from jaxgan.metrics.features import Extractor

OTHERS = 99
_ROWS = 256
"""Images that are compared with all captions at a time."""


class RPrecision(Score):
    """Share of images whose own caption is the nearest of 100; of generated ones, of real ones."""

    name = "r_precision"
    gives = ("r_precision", "r_precision_real")
    needs = needs_real = frozenset({"image", "text"})
    better = "higher"
    of = "captions"
    summary = "share of images whose own caption is the nearest of 100, and of real ones"
    published_as = (
        "by the DAMSM encoders, over 30,000 images of captions of the validation set, each against "
        "99 other captions (Xu et al. 2018)"
    )
    published_with = "damsm"

    def gather(self, so_far: Any, batch: Columns) -> Any:
        """What was read off the images, and the vectors of their captions."""
        assert isinstance(self.network, Extractor)
        kept = {"read": regressor.read(self.network, batch["image"]), "text": batch["text"]}
        return (*(so_far or ()), kept)

    def result(self) -> dict[str, float]:
        """{"r_precision": share, "r_precision_real": that of real images}, in [0, 1].

        Raises:
            UserError: captions of generated images that no real one has; fewer than 100.
        """
        made, real = (np.round(joined(side, "text"), 4) for side in (self.generated, self.real))
        pool, own = np.unique(real, axis=0, return_inverse=True)
        both, drawn = np.unique(np.concatenate([pool, made]), axis=0, return_inverse=True)
        if len(both) > len(pool):
            raise UserError(
                "r_precision compares images of the same captions, and some generated ones are of "
                "captions that no real image has: draw them of the captions of the real images"
            )
        own, drawn = own.reshape(-1), drawn.reshape(-1)[len(pool) :]
        used = np.isin(own, drawn)
        sides = (
            (joined(self.generated, "read"), drawn),
            (joined(self.real, "read")[used], own[used]),
        )
        shares = [nearest_of(*side, pool, self.seed).mean() for side in sides]
        return dict(zip(self.gives, map(float, shares), strict=True))


def nearest_of(read: np.ndarray, own: np.ndarray, pool: np.ndarray, seed: int = 0) -> np.ndarray:
    """Whether each row's own vector is nearer to what was read than 99 others, drawn at random.

    Args:
        read: [n, d], of images.
        own: [n], the row of each one's own vector in the pool.
        pool: [m, d], different vectors.
        seed: of the others.

    Raises:
        UserError: the pool is too small.
    """
    if len(pool) <= OTHERS:
        raise UserError(
            f"r_precision ranks a caption among {OTHERS} others, and there are {len(pool)} "
            "different ones: give data with more"
        )
    rng, units = np.random.default_rng(seed), _unit(pool).T
    found = np.zeros(len(read), bool)
    for row, mine in enumerate(own):
        if row % _ROWS == 0:
            cosines = _unit(read[row : row + _ROWS]) @ units
        others = rng.choice(len(pool) - 1, OTHERS, replace=False)
        others += others >= mine  # all but its own
        near = cosines[row % _ROWS]
        found[row] = near[mine] > near[others].max()
    return found


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-8)
