"""R-precision: do images show what their sentences say?

Xu et al. 2018, "AttnGAN", section 4: how often an image's own caption is the nearest to it of 100,
the other 99 drawn at random. There image and text encoders were trained together; here the text
encoder is the run's own, and images are read by `jaxgan.metrics.regressor`. Chance is 0.01.
"""

from typing import Any

import numpy as np

from jaxgan.errors import UserError
from jaxgan.metrics import regressor
from jaxgan.metrics.base import Score, joined

OTHERS = 99


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

    def result(self) -> dict[str, float]:
        """{"r_precision": share, "r_precision_real": that of real images}, in [0, 1]."""
        sides = zip(self.gives, (self.generated, self.real), strict=True)
        return {name: self._share(side) for name, side in sides}

    def _share(self, side: Any) -> float:
        network = self.network
        assert network is not None
        vectors, images = joined(side, "text"), joined(side, "image")
        read = regressor.read(network, images)  # type: ignore[arg-type]
        return float(nearest_of(read, vectors, self.seed).mean())


def nearest_of(read: np.ndarray, vectors: np.ndarray, seed: int = 0) -> np.ndarray:
    """Whether each row's own vector is nearer to what was read than 99 others, drawn at random.

    Raises:
        UserError: there are fewer different vectors.
    """
    pool, own = np.unique(np.round(vectors, 4), axis=0, return_inverse=True)
    own = own.reshape(-1)
    if len(pool) <= OTHERS:
        raise UserError(
            f"r_precision ranks a caption among {OTHERS} others, and there are {len(pool)} "
            "different ones: give more images"
        )
    rng = np.random.default_rng(seed)
    cosines = _unit(read) @ _unit(pool).T
    found = np.zeros(len(read), bool)
    for row, mine in enumerate(own):
        others = rng.choice(len(pool) - 1, OTHERS, replace=False)
        others += others >= mine  # all but its own
        found[row] = cosines[row, mine] > cosines[row, others].max()
    return found


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-8)
