import jax
import numpy as np
import torch

from jaxgan.nn.translator import Translator, reflect
from tests.reference import translation as reference
from tests.reference.port import images_from_torch, images_to_torch, randomise, to_flax


@torch.no_grad()
def test_nine_blocks_match_torch(rng):
    torch.manual_seed(0)
    network = randomise(reference.Translator(width=4))
    for parameter in network.parameters():  # away from grey
        parameter.mul_(1.5)
    x = rng.uniform(-1, 1, (2, 24, 32, 3)).astype(np.float32)
    apply = jax.jit(lambda variables: Translator(3, width=4).apply(variables, x, train=False))
    ours = apply(to_flax(network))
    theirs = images_from_torch(network(images_to_torch(x)))
    assert theirs.std() > 0.05
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_reflection_leaves_out_the_edge(rng):
    x = rng.normal(size=(2, 5, 6, 3)).astype(np.float32)
    theirs = torch.nn.functional.pad(images_to_torch(x), (3,) * 4, mode="reflect")
    np.testing.assert_array_equal(reflect(x, 3), images_from_torch(theirs))
