import jax
import numpy as np
import pytest
import torch

from jaxgan.errors import UserError
from jaxgan.systems.sagan import SAGAN, Discriminator, Generator
from jaxgan.training.step import init, make_step
from jaxgan.view import View
from tests.reference import sagan as reference
from tests.reference.port import images_from_torch, images_to_torch, randomise, to_flax, to_torch


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def sharpen(network):
    """Makes untrained attention look somewhere."""
    for attention in (network.attention1, network.attention2):
        attention.query.weight.mul_(8)
        attention.key.weight.mul_(8)
    return network


@torch.no_grad()
def test_generator_and_its_maps_match_torch(rng):
    network = sharpen(randomise(reference.Generator(latent=12, width=8)))
    z = rng.normal(size=(2, 12)).astype(np.float32)
    images, maps = Generator(8, (64, 64, 3)).apply(to_flax(network), z, train=False)
    theirs, *their_maps = network(torch.from_numpy(z))
    assert theirs.std() > 1e-2
    np.testing.assert_allclose(images, images_from_torch(theirs), atol=2e-5)
    for ours, expected, n in zip(maps, their_maps, (16**2, 32**2), strict=True):
        assert ours.shape == (2, n, n)
        assert expected.max() > 1.5 / n
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-6)


@torch.no_grad()
def test_discriminator_and_its_maps_match_torch(rng):
    network = sharpen(randomise(reference.Discriminator(width=8)))
    x = rng.uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)
    logits, maps = Discriminator(8).apply(to_flax(network), x, train=False)
    theirs, *their_maps = network(images_to_torch(x))
    np.testing.assert_allclose(logits, theirs, rtol=1e-4, atol=1e-6)
    for ours, expected, n in zip(maps, their_maps, (8**2, 4**2), strict=True):
        assert ours.shape == (2, n, n)
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize(
    ("make", "ours", "shape"),
    [
        (reference.Generator, Generator(8, (64, 64, 3)), (1, 128)),
        (reference.Discriminator, Discriminator(8), (1, 64, 64, 3)),
    ],
)
def test_power_iteration_is_that_of_the_reference(make, ours, shape):
    """v = W'u, then u = Wv, W with the rows of torch's first axis: inputs where transposed."""
    network = make(width=8)
    written = jax.jit(
        lambda v: ours.apply(v, np.zeros(shape), train=False, mutable=["spectral"])[1]
    )(to_flax(network))
    for conv in (network.conv1, network.conv2, network.conv3, network.conv4):
        weight = conv.parametrizations.weight
        matrix = weight.original.flatten(1)
        weight[0]._v.copy_(torch.nn.functional.normalize(matrix.T @ weight[0]._u, dim=0))
        weight[0]._u.copy_(torch.nn.functional.normalize(matrix @ weight[0]._v, dim=0))
    for name, expected in to_flax(network)["spectral"].items():
        for vector in ("u", "v"):
            result = written["spectral"][name]["SpectralNorm_0"][vector]
            np.testing.assert_allclose(result, expected["SpectralNorm_0"][vector], atol=1e-5)


def test_weights_survive_the_way_to_flax_and_back():
    for make in (reference.Generator, reference.Discriminator):
        network, copy = make(width=8), make(width=8)
        to_torch(to_flax(network), copy)
        for name, value in network.state_dict().items():
            assert torch.equal(value, copy.state_dict()[name]), name


def test_attention_starts_as_the_identity():
    """With gamma 0 no weight of the attention matters, to the last bit."""
    system = SAGAN(latent=5, width=8)
    variables = to_flax(reference.Generator(latent=5, width=8).eval())
    params, stats = variables.pop("params"), {"generator": variables}
    z = np.ones((2, 5), np.float32)
    view = View(system.networks(), {"generator": params}, stats, train=False)
    images, maps = view("generator", z)
    for name in ("attention1", "attention2"):
        assert params[name]["gamma"] == 0
        params[name] = jax.tree.map(lambda p: p + (p.ndim > 0), params[name])
    other, other_maps = view("generator", z)
    np.testing.assert_array_equal(images, other)
    assert abs(maps[0] - other_maps[0]).max() > 1e-4
    use = system.uses()["attention"]
    shown = use.call(view, {"z": z}, None, None)
    np.testing.assert_array_equal(system.make(view, {"z": z}), other)
    np.testing.assert_array_equal(shown["image"], other)
    np.testing.assert_array_equal(shown["attention"], other_maps[-1])
    assert use.gives["attention"].shape == other_maps[-1].shape[1:]
    for attention in other_maps:
        np.testing.assert_allclose(attention.sum(-1), 1, rtol=1e-5)


@pytest.mark.parametrize("side", [16, 32, 128])
def test_attention_sits_at_the_same_places_at_other_sizes(side):
    system = SAGAN(shape=(side, side, 3), width=8)
    outputs = jax.eval_shape(
        lambda key: {
            name: network.init_with_output(key, *system.inputs()[name], train=True)[0]
            for name, network in system.networks().items()
        },
        jax.random.key(0),
    )
    images, maps = outputs["generator"]
    assert images.shape == (1, side, side, 3)
    assert [m.shape[1] for m in maps] == [(side // 4) ** 2, (side // 2) ** 2]
    logits, maps = outputs["discriminator"]
    assert logits.shape == (1,)
    assert [m.shape[1] for m in maps] == [64, 16]


def test_each_player_advances_the_statistics_of_its_own_network():
    """A power iteration for each update, none in the other's turn."""
    for player in SAGAN().stages()[0].players:
        assert player.writes == player.owns == (player.name,)


def test_wgan_gp_is_that_of_gradients_taken_sample_by_sample(rng):
    """Lambda 10, a point of its own between each real image and its fake, the whole L2 norm."""
    system = SAGAN(shape=(16, 16, 1), latent=3, width=8, loss="wgan-gp", spectral=False)
    state = init(system)
    assert not state.stats["discriminator"]
    params = dict(state.params)
    params["discriminator"] = jax.tree.map(
        lambda p: p + 0.3 * (p.ndim == 0), params["discriminator"]
    )
    real = rng.uniform(-1, 1, (3, 16, 16, 1)).astype(np.float32)
    key = jax.random.key(5)

    @jax.jit
    def loss_and_its_parts():
        view = View(system.networks(), params, state.stats, train=True)
        epsilon = jax.vmap(jax.random.uniform)(view.keys(jax.random.fold_in(key, 1), 3))
        fake, _ = system.fakes(view, key, 3)
        return system.discriminator_loss(view, {"image": real}, key), fake, epsilon

    @jax.jit
    @jax.value_and_grad
    def score(x):
        view = View(system.networks(), params, state.stats, train=True)
        return view("discriminator", x[None])[0][0]

    (loss, metrics), fake, epsilon = loss_and_its_parts()
    assert len(set(np.asarray(epsilon).tolist())) == 3
    between = [e * r + (1 - e) * f for e, r, f in zip(epsilon, real, fake, strict=True)]
    slopes = np.array([np.linalg.norm(score(x)[1]) for x in between])
    scores = np.array([[score(x)[0] for x in images] for images in (real, fake)])
    np.testing.assert_allclose(metrics["penalty"], ((slopes - 1) ** 2).mean(), rtol=1e-4)
    expected = scores[1].mean() - scores[0].mean() + 10 * ((slopes - 1) ** 2).mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


def test_wgan_gp_trains_with_several_updates_of_the_discriminator(rng):
    system = SAGAN(shape=(16, 16, 1), latent=3, width=8, loss="wgan-gp", discriminator_updates=2)
    (stage,) = system.stages()
    assert [player.repeats for player in stage.players] == [2, 1]
    state = init(system)
    start = jax.tree.map(np.array, state.params)
    batch = {"image": rng.uniform(-1, 1, (2, 2, 16, 16, 1)).astype(np.float32)}
    state, metrics = make_step(system, stage)(state, batch)
    assert metrics["discriminator"]["penalty"] > 0
    for name, params in state.params.items():
        moved = jax.tree.map(lambda a, b: abs(a - b).max(), params, start[name])
        assert all(np.isfinite(v) for v in jax.tree.leaves(moved))
        assert moved["conv1"]["kernel"] > 0


def test_shapes_without_two_maps_are_refused():
    with pytest.raises(UserError, match="16x16"):
        SAGAN(shape=(8, 8, 3))
    with pytest.raises(UserError, match="side 8, 16, 32"):
        SAGAN(shape=(60, 60, 3))
