import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen as nn

from jaxgan.nn.norm import InstanceNorm
from jaxgan.nn.patchgan import PatchGAN
from tests.reference import translation as reference
from tests.reference.port import images_to_torch, randomise, to_flax


@torch.no_grad()
@pytest.mark.parametrize(
    ("affine", "kernel_size", "logits"),
    [(False, 4, (2, 6, 4)), (True, 4, (2, 6, 4)), (True, 3, (2, 8, 6))],
)
def test_it_matches_torch(rng, affine, kernel_size, logits):
    torch.manual_seed(0)
    network = randomise(reference.PatchGAN(4, 8, affine, kernel_size)).train()
    x = rng.uniform(-1, 1, (2, 64, 48, 4)).astype(np.float32)
    theirs = torch.cat([network(image[None]) for image in images_to_torch(x)])
    params = to_flax(network)["params"]
    patches = PatchGAN(8, affine=affine, kernel_size=kernel_size)
    ours = jax.jit(lambda params: patches.apply({"params": params}, x, train=False))(params)
    assert ours.shape == logits
    assert theirs.std() > 1e-2
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def without_norms(method, args, options, context):
    if isinstance(context.module, InstanceNorm):
        return args[0]
    return method(*args, **options)


@pytest.mark.parametrize(
    ("halvings", "kernel_size", "size", "side"),
    [
        (3, 4, 70, 96),
        (2, 4, 34, 64),
        (1, 4, 16, 32),
        (3, 3, 47, 96),
        (2, 3, 23, 64),
        (1, 3, 11, 32),
    ],
)
def test_a_logit_sees_a_patch(halvings, kernel_size, size, side):
    """Norms aside, which see the whole map: the gradient's support, at a logit in the middle."""
    network = PatchGAN(4, halvings, kernel_size=kernel_size)
    x = jax.random.normal(jax.random.key(0), (1, side, side, 1))
    with nn.intercept_methods(without_norms):
        middle = side // 2**halvings // 2 - 1

        @jax.jit
        def gradient_of_a_logit(x):
            variables = network.init(jax.random.key(1), x, train=True)
            return jax.grad(lambda x: network.apply(variables, x, train=True)[0, middle, middle])(x)

        gradient = gradient_of_a_logit(x)
    touched = np.flatnonzero(abs(np.asarray(gradient)[0, :, :, 0]).max(1) > 0)
    assert touched[-1] - touched[0] + 1 == size == len(touched)


def test_it_has_30x30_logits_at_256_pixels():
    logits = jax.eval_shape(
        lambda: PatchGAN().init_with_output(
            jax.random.key(0), jnp.zeros((1, 256, 256, 3)), train=True
        )[0]
    )
    assert logits.shape == (1, 30, 30)
