import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.systems.sagan128 import SAGANResNet
from jaxgan.training.step import init, make_step
from jaxgan.view import View

TINY = SAGANResNet(
    shape=(8, 8, 3),
    classes=3,
    latent=6,
    generator_channels=(8, 8),
    discriminator_channels=(8, 8),
    halvings=2,
)


@pytest.fixture(scope="module")
def state():
    return init(TINY)


@pytest.mark.parametrize("classes", [0, 5])
@pytest.mark.parametrize("side", [32, 64])
def test_attention_sits_at_the_same_places_at_other_sizes(side, classes):
    """Half the side in the generator, a quarter in the discriminator; a quarter as many keys."""
    system = SAGANResNet(
        shape=(side, side, 3),
        classes=classes,
        generator_channels=(16, 16, 8, 8),
        discriminator_channels=(8, 16, 16, 16),
        halvings=3,
    )
    outputs = jax.eval_shape(
        lambda key: {
            name: network.init_with_output(key, *system.inputs()[name], train=True)[0]
            for name, network in system.networks().items()
        },
        jax.random.key(0),
    )
    images, (attention,) = outputs["generator"]
    assert images.shape == (1, side, side, 3)
    assert attention.shape == (1, side**2 // 4, side**2 // 16)
    logits, attention = outputs["discriminator"]
    assert logits.shape == (1,)
    assert attention.shape == (1, side**2 // 16, side**2 // 64)


def test_every_weight_is_spectrally_normalised(state):
    for name, tree in state.params.items():
        kernels = {
            jax.tree_util.keystr(path[:-1])
            for path, _ in jax.tree_util.tree_leaves_with_path(tree)
            if path[-1].key == "kernel"
        }
        normalised = {
            jax.tree_util.keystr(path[:-2])
            for path, _ in jax.tree_util.tree_leaves_with_path(state.stats[name]["spectral"])
        }
        assert kernels == normalised


def test_attention_starts_as_the_identity(state):
    """With sigma 0 no weight of the attention matters, to the last bit."""
    view = View(TINY.networks(), state.params, state.stats, train=False)
    z, label = np.ones((2, 6), np.float32), np.array([0, 2])
    use, taken = TINY.uses()["attention"], {"z": z, "label": label}
    images, attention = use.call(view, taken, None, None).values()
    assert use.gives["attention"].shape == attention.shape[1:]
    np.testing.assert_allclose(attention.sum(-1), 1, rtol=1e-5)
    np.testing.assert_array_equal(TINY.make(view, taken), images)
    generator = dict(state.params["generator"])
    generator["attention"] = jax.tree.map(
        lambda p: p[..., ::-1, :] if p.ndim else p, generator["attention"]
    )
    view = View(TINY.networks(), {"generator": generator}, state.stats, train=False)
    other, other_attention = use.call(view, taken, None, None).values()
    np.testing.assert_array_equal(other, images)
    assert abs(other_attention - attention).max() > 1e-4


def test_label_matters_to_both_networks(state):
    view = View(TINY.networks(), state.params, state.stats, train=False)
    params = jax.tree.map(lambda p: p, state.params["generator"])
    scale = params["block1"]["norm1"]["scale"]
    params["block1"] = {**params["block1"], "norm1": {**params["block1"]["norm1"]}}
    params["block1"]["norm1"]["scale"] = scale.at[1].multiply(3)  # classes start alike
    opened = View(TINY.networks(), {"generator": params}, state.stats, train=False)
    images = TINY.make(opened, {"z": np.ones((2, 6), np.float32), "label": np.array([0, 1])})
    assert abs(images[0] - images[1]).max() > 1e-4
    logits, _ = view("discriminator", np.ones((2, 8, 8, 3), np.float32), np.array([0, 1]))
    assert abs(logits[0] - logits[1]) > 1e-5


def test_gradients_are_those_of_the_plain_formula(rng, monkeypatch):
    """Inert biases and the shift beside the stream against biases that simply are added.

    Without `stop_gradient` every bias is live, and the shift has no gradient.
    """
    system = dataclasses.replace(TINY, generator_channels=(8, 8, 8))
    state = init(system)
    network, stats = system.networks()["generator"], state.stats["generator"]
    params = dict(state.params["generator"])
    params["attention"] = {**params["attention"], "sigma": jnp.float32(0.7)}
    z = rng.normal(size=(3, 6)).astype(np.float32)
    weight = rng.normal(size=(3, *TINY.shape))

    def gradient():
        def loss(params):
            outputs, _ = network.apply(
                {"params": params, **stats}, z, np.arange(3), train=True, mutable="batch_stats"
            )
            return jnp.sum(weight * outputs[0])

        options = {"xla_backend_optimization_level": 0}  # compiles faster
        return jax.jit(jax.grad(loss), compiler_options=options)(params)

    ours = gradient()
    monkeypatch.setattr(jax.lax, "stop_gradient", lambda x: x)
    plain = gradient()
    scale = max(abs(x).max() for x in jax.tree.leaves(plain))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * scale), ours, plain)
    for layer in ("conv2", "shortcut"):
        assert abs(ours["block1"][layer]["bias"]).max() > 0
        assert not ours["block2"][layer]["bias"].any()


def test_a_step_trains(state, rng):
    batch = {
        "image": rng.uniform(-1, 1, (4, 8, 8, 3)).astype(np.float32),
        "label": np.array([0, 1, 2, 0]),
    }
    after, metrics = make_step(TINY)(jax.tree.map(jnp.copy, state), batch)
    assert np.isfinite(jax.tree.leaves(metrics)).all()
    assert {"real_logits", "fake_logits"} <= set(metrics["discriminator"])
    moved = jax.tree.map(lambda a, b: not np.array_equal(a, b), state.params, after.params)
    for name in ("generator", "discriminator"):
        assert moved[name]["attention"]["sigma"]


def test_shapes_that_blocks_cannot_make_are_refused():
    with pytest.raises(UserError, match="multiples of 32"):
        SAGANResNet(shape=(100, 100, 3))
    with pytest.raises(UserError, match="2 halvings"):
        SAGANResNet(halvings=1)
