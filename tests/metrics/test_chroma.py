import numpy as np
import pytest

from jaxgan import colour
from jaxgan.errors import UserError
from jaxgan.metrics.fidelity import Chroma


def test_chroma_is_scored_beside_grey_and_four_to_two_to_zero(rng):
    real = rng.integers(0, 256, (3, 9, 8, 3)).astype(np.uint8)
    made = rng.integers(0, 256, (3, 9, 8, 3)).astype(np.uint8)
    score, found = Chroma(), colour.chroma(real).astype(float)
    for rows in (slice(0, 2), slice(2, 3)):
        score.add({"image": made[rows]}, {"image": real[rows]})
    got = score.result()
    others = (colour.chroma(made), 128.0, colour.subsampled(colour.chroma(real)))
    for name, other in zip(Chroma.gives, others, strict=True):
        each = 20 * np.log10(255) - 10 * np.log10(((found - other) ** 2).mean((1, 2, 3)))
        np.testing.assert_allclose(got[name], (each.mean(), each.std()))
    with pytest.raises(UserError, match="grey"):
        score.each(real[..., :1], real[..., :1])
