import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxgan.systems.biggan import BigGAN
from jaxgan.systems.common.generative import falling_adam
from jaxgan.systems.dcgan import DCGAN
from jaxgan.systems.sagan import SAGAN
from jaxgan.systems.sngan import SNGAN, Discriminator, Generator
from jaxgan.view import View
from tests.reference import sngan as reference
from tests.reference.port import images_from_torch, images_to_torch, randomise, to_flax, to_torch

SIZES = {
    32: {},
    64: {
        "shape": (64, 64, 3),
        "generator_channels": (1024, 512, 256, 128, 64),
        "discriminator_channels": (64, 128, 256, 512, 1024),
        "halvings": 5,
        "last_bias": True,
    },
    128: {
        "shape": (128, 128, 3),
        "generator_channels": (1024, 1024, 512, 256, 128, 64),
        "discriminator_channels": (64, 128, 256, 512, 1024, 1024),
        "halvings": 5,
        "last_bias": True,
    },
}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@torch.no_grad()
@pytest.mark.parametrize("classes", [0, 4])
def test_generator_matches_torch(classes, rng):
    network = randomise(reference.Generator(width=16, classes=classes, latent=12))
    z = rng.normal(size=(3, 12)).astype(np.float32)
    label = (np.array([1, 0, 3]),) if classes else ()
    ours = Generator((16,) * 4, (32, 32, 3), classes, jnp.float32)
    ours = ours.apply(to_flax(network), z, *label, train=False)
    theirs = images_from_torch(network(torch.from_numpy(z), *map(torch.from_numpy, label)))
    assert theirs.std() > 1e-2
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("classes", [0, 4])
def test_discriminator_matches_torch(classes, rng):
    network = randomise(reference.Discriminator(width=16, classes=classes))
    x = rng.uniform(-1, 1, (3, 32, 32, 3)).astype(np.float32)
    label = (np.array([1, 0, 3]),) if classes else ()
    ours = Discriminator((16,) * 4, 2, classes, False, jnp.float32)
    ours = ours.apply(to_flax(network), x, *label, train=False)
    theirs = network(images_to_torch(x), *map(torch.from_numpy, label))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)


def test_weights_survive_the_way_to_flax_and_back():
    for make in (reference.Generator, reference.Discriminator):
        network, copy = (make(width=4, classes=3) for _ in range(2))
        to_torch(to_flax(network), copy)
        for name, value in network.state_dict().items():
            assert torch.equal(value, copy.state_dict()[name]), name


@pytest.mark.parametrize(
    ("size", "classes", "counts"),
    [
        (32, 0, (4_276_739, 1_053_824)),
        (32, 10, (4_304_387, 1_055_104)),
        (64, 0, (12_220_675, 10_141_441)),
        (64, 1000, (17_974_915, 11_165_441)),
        (128, 0, (32_150_787, 29_017_857)),
    ],
)
def test_parameter_counts(size, classes, counts):
    system = SNGAN(classes=classes, **SIZES[size])
    params, _ = jax.eval_shape(system.init, jax.random.key(0))
    sizes = {name: sum(x.size for x in jax.tree.leaves(tree)) for name, tree in params.items()}
    assert (sizes["generator"], sizes["discriminator"]) == counts


@pytest.fixture(scope="module")
def projection():
    """A discriminator with 3 classes, its variables, and two images."""
    x = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    variables = to_flax(reference.Discriminator(width=8, classes=3))
    return Discriminator((8,) * 4, 2, 3, False, jnp.float32), variables, x


def test_classes_differ_by_the_projection_of_the_features(projection):
    """D(x, y) - D(x, y') = <e_y - e_y', h>, h the summed features."""
    network, variables, x = projection
    (a, b), (c, d) = np.array([0, 1]), np.array([2, 0])
    (left, captured), (right, _) = (
        network.apply(
            variables, x, label, train=False, capture_intermediates=True, mutable="intermediates"
        )
        for label in (np.array([a, b]), np.array([c, d]))
    )
    h = np.maximum(captured["intermediates"]["block4"]["__call__"][0], 0).sum((1, 2))
    table = np.asarray(variables["params"]["embed"]["kernel"])
    state = variables["spectral"]["embed"]["SpectralNorm_0"]
    table = table / (state["u"] @ table @ state["v"])
    expected = [(table[a] - table[c]) @ h[0], (table[b] - table[d]) @ h[1]]
    np.testing.assert_allclose(left - right, expected, rtol=1e-4)


def test_class_without_embedding_is_the_unconditional_discriminator(projection):
    network, variables, x = projection
    table = variables["params"]["embed"]["kernel"].copy()
    table[2] = 0
    params = {**variables["params"], "embed": {"kernel": table}}
    conditional = network.apply({**variables, "params": params}, x, np.array([2, 2]), train=False)
    plain = Discriminator((8,) * 4, 2, 0, False, jnp.float32).apply(variables, x, train=False)
    np.testing.assert_array_equal(conditional, plain)


class Recorder(View):
    """A view that notes how many rows are drawn."""

    def __init__(self):
        self.drawn = []

    def draw(self, fields, key, count):
        self.drawn.append(count)
        return {name: field.zeros(count) for name, field in fields.items()}

    def augment(self, images):
        return images

    def __call__(self, network, *inputs):
        return jnp.zeros(len(inputs[0]))

    def together(self, network, *batches):
        return tuple(self(network, *batch) for batch in batches)


def test_generator_moves_first_on_twice_the_batch():
    system = SNGAN()
    first, second = system.stages()[0].players
    assert (first.name, second.name, second.repeats) == ("generator", "discriminator", 5)
    batch = {"image": np.zeros((3, 32, 32, 3), np.float32)}
    for player, expected in ((first, [6]), (second, [3])):
        view = Recorder()
        player.loss(view, batch, jax.random.key(0))
        assert view.drawn == expected


def test_the_step_size_falls_between_iterations_not_within():
    """As by Chainer's LinearShift: from iteration 2 to 4, with two updates each."""
    optimizer = falling_adam(1.0, (0.0, 0.0), (2, 4), updates=2)
    params = jnp.ones(())
    state, moves = optimizer.init(params), []
    for _ in range(10):
        update, state = optimizer.update(jnp.ones(()), state, params)
        moves.append(-float(update))  # Adam without memory: the step size
    np.testing.assert_allclose(moves, [1, 1, 1, 1, 1, 1, 0.5, 0.5, 0, 0], atol=1e-6)


@pytest.mark.parametrize("make", [SNGAN, DCGAN, BigGAN, SAGAN])
def test_statistics_of_both_networks_can_move_in_every_turn(make):
    def written(system):
        return {p.name: set(p.writes) for p in system.stages()[0].players}

    both = {"generator", "discriminator"}
    assert written(make()) == {name: {name} for name in both}
    assert written(make(every_turn=True)) == dict.fromkeys(both, both)
