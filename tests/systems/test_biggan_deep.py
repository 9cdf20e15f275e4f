import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxgan import init
from jaxgan.systems.biggan_deep import BigGANDeep
from tests.reference import biggan as reference
from tests.reference.port import images_from_torch, images_to_torch, randomise, to_flax

TINY = BigGANDeep(
    shape=(32, 32, 3),
    classes=3,
    channels=4,
    latent=6,
    shared=4,
    generator_attention=(),
    discriminator_attention=(),
)
Z = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
LABEL = np.array([1, 0, 2])


@pytest.mark.parametrize("side", [32, 64, 128, 512])
def test_shapes(side):
    attention = 16 if side == 32 else 32
    system = dataclasses.replace(
        TINY,
        shape=(side, side, 3),
        generator_attention=(attention,),
        discriminator_attention=(attention,),
        channels=8,
    )
    outputs = jax.eval_shape(
        lambda key: {
            name: network.init_with_output(key, *system.inputs()[name], train=True)[0]
            for name, network in system.networks().items()
        },
        jax.random.key(0),
    )
    images, (attention_map,) = outputs["generator"]
    assert images.shape == (1, side, side, 3)
    assert attention_map.shape == (1, attention**2, attention**2 // 4)
    assert outputs["discriminator"].shape == (1,)


@torch.no_grad()
def test_generator_matches_torch():
    torch.manual_seed(0)
    network = randomise(reference.DeepGenerator(32, 4, 3, 6, 4))
    ours = jax.jit(TINY.networks()["generator"].apply, static_argnames="train")
    images, _ = ours(to_flax(network), Z, LABEL, train=False)
    theirs = images_from_torch(network(torch.from_numpy(Z), torch.from_numpy(LABEL)))
    assert theirs.std() > 1e-2
    np.testing.assert_allclose(images, theirs, atol=1e-4)


@torch.no_grad()
def test_discriminator_matches_torch(rng):
    torch.manual_seed(0)
    network = randomise(reference.DeepDiscriminator(32, 4, 3))
    x = rng.uniform(-1, 1, (3, 32, 32, 3)).astype(np.float32)
    ours = jax.jit(TINY.networks()["discriminator"].apply, static_argnames="train")
    logits = ours(to_flax(network), x, LABEL, train=False)
    theirs = network(images_to_torch(x), torch.from_numpy(LABEL)).numpy()
    np.testing.assert_allclose(logits, theirs, rtol=1e-4, atol=1e-4)


def test_gradients_are_those_of_the_plain_formula(monkeypatch):
    """As in test_biggan.py: without `stop_gradient` all biases are live and the shift is not."""
    system = dataclasses.replace(TINY, generator_attention=(8,))
    state = init(system)
    params, stats = state.params["generator"], state.stats["generator"]
    params["attention"]["sigma"] = jnp.float32(0.7)
    weight = np.random.default_rng(1).normal(size=(3, 32, 32, 3))

    def gradient():
        network = system.networks()["generator"]

        def loss(params):
            outputs, _ = network.apply(
                {"params": params, **stats}, Z, LABEL, train=True, mutable="batch_stats"
            )
            return jnp.sum(weight * outputs[0])

        options = {"xla_backend_optimization_level": 0}  # compiles faster
        return jax.jit(jax.grad(loss), compiler_options=options)(params)

    ours = gradient()
    monkeypatch.setattr(jax.lax, "stop_gradient", lambda x: x)
    plain = gradient()
    scale = max(abs(x).max() for x in jax.tree.leaves(plain))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * scale), ours, plain)
    assert abs(ours["block1"]["conv4"]["bias"]).max() > 0
    assert not ours["block3"]["conv4"]["bias"].any()
