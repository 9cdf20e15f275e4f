import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, max_pool2d, one_hot

from jaxgan import apply, init, make_step
from jaxgan.errors import UserError
from jaxgan.system import stages_of
from jaxgan.systems.sgan import (
    SGAN,
    Discriminator0,
    Discriminator1,
    Encoder,
    Generator0,
    Generator1,
    KWayDiscriminator0,
    KWayDiscriminator1,
    KWaySGAN,
    gradient_scaled,
    mean_square,
)
from jaxgan.view import View
from tests.reference.port import images_from_torch, images_to_torch, randomise, to_flax

SMALL = {
    "classes": 3,
    "latent": 4,
    "lower_latent": 3,
    "features": 8,
    "encoder_widths": (2, 3),
    "upper_width": 6,
    "lower_widths": (4, 4, 3, 3),
    "upper_discriminator_width": 5,
    "lower_discriminator_width": 2,
    "lower_steps": 1,
    "upper_steps": 1,
    "encoder_steps": 1,
}
TINY = SGAN(shape=(16, 16, 1), lower_discriminator_hidden=6, **SMALL)
TINY_K_WAY = KWaySGAN(shape=(16, 16, 1), **SMALL)
FEWER_TURNS = dataclasses.replace(TINY_K_WAY, thresholds=(0.5,))


def flat(h: Tensor) -> Tensor:
    """Maps to vectors, channels last."""
    return h.permute(0, 2, 3, 1).flatten(1)


def normed(norm: nn.Module, h: Tensor) -> Tensor:
    return norm(h[:, :, None, None]).flatten(1) if h.ndim == 2 else norm(h)


def batch_norm(features: int) -> nn.Module:
    return nn.BatchNorm2d(features, eps=1e-6)


class TorchEncoder(nn.Module):
    """Images in [0, 1] to features and logits; 28 pixels become 4 x 4."""

    def __init__(self, widths, hidden, classes, side, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, widths[0], 5)
        self.conv2 = nn.Conv2d(widths[0], widths[1], 5)
        self.dense3 = nn.Linear(widths[1] * ((side - 12) // 4) ** 2, hidden)
        self.dense4 = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = max_pool2d(self.conv1(x).relu(), 2)
        h = max_pool2d(self.conv2(h).relu(), 2)
        h = self.dense3(flat(h)).relu()
        return h, self.dense4(h)


class TorchGenerator1(nn.Module):
    def __init__(self, classes, latent, features, width, embeddings):
        super().__init__()
        self.classes, self.embeddings = classes, embeddings
        ins = (latent, classes)
        if embeddings:
            self.noise = nn.Linear(latent, embeddings[0], bias=False)
            self.norm_noise = batch_norm(embeddings[0])
            self.label = nn.Linear(classes, embeddings[1], bias=False)
            self.norm_label = batch_norm(embeddings[1])
            ins = embeddings
        self.dense1 = nn.Linear(sum(ins), width, bias=False)
        self.norm_dense1 = batch_norm(width)
        self.dense2 = nn.Linear(width, width, bias=False)
        self.norm_dense2 = batch_norm(width)
        self.dense3 = nn.Linear(width, features)

    def forward(self, label: Tensor, z: Tensor) -> Tensor:
        y = one_hot(label, self.classes).float()
        if self.embeddings:
            z = normed(self.norm_noise, self.noise(z)).relu()
            y = normed(self.norm_label, self.label(y)).relu()
        h = normed(self.norm_dense1, self.dense1(torch.cat([z, y], 1))).relu()
        h = normed(self.norm_dense2, self.dense2(h)).relu()
        return self.dense3(h).relu()


class TorchGenerator0(nn.Module):
    """Features and noise to images in [0, 1]."""

    def __init__(self, channels, side, widths, embeddings, features, latent):
        super().__init__()
        self.embeddings, size = len(embeddings), latent
        for index, wide in enumerate(embeddings, 1):
            setattr(self, f"noise{index}", nn.Linear(size, wide, bias=False))
            setattr(self, f"norm_noise{index}", batch_norm(wide))
            size = wide
        self.first, self.side = widths[0], (side - 12) // 4
        places = self.side**2 * widths[0]
        self.dense1 = nn.Linear(features + size, places, bias=False)
        self.norm1 = batch_norm(places)
        self.conv2 = nn.ConvTranspose2d(widths[0], widths[1], 5, 2, 2, 1, bias=False)
        self.norm2 = batch_norm(widths[1])
        self.conv3 = nn.ConvTranspose2d(widths[1], widths[2], 5, bias=False)
        self.norm3 = batch_norm(widths[2])
        self.conv4 = nn.ConvTranspose2d(widths[2], widths[3], 5, 2, 2, 1, bias=False)
        self.norm4 = batch_norm(widths[3])
        self.conv5 = nn.ConvTranspose2d(widths[3], channels, 5)

    def forward(self, features: Tensor, z: Tensor) -> Tensor:
        for index in range(1, self.embeddings + 1):
            layer, norm = getattr(self, f"noise{index}"), getattr(self, f"norm_noise{index}")
            z = normed(norm, layer(z)).relu()
        h = normed(self.norm1, self.dense1(torch.cat([features, z], 1))).relu()
        h = h.reshape(len(h), self.side, self.side, self.first).permute(0, 3, 1, 2)
        h = self.norm2(self.conv2(h)).relu()
        h = self.norm3(self.conv3(h)).relu()
        return torch.sigmoid(self.conv5(self.norm4(self.conv4(h)).relu()))


class TorchDiscriminator1(nn.Module):
    def __init__(self, features, width, latent):
        super().__init__()
        self.dense1, self.dense2 = nn.Linear(features, width), nn.Linear(width, width)
        self.logits, self.noise = nn.Linear(width, 1), nn.Linear(width, latent)

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        h = self.dense2(self.dense1(h).relu()).relu()
        return self.logits(h), torch.sigmoid(self.noise(h))


class TorchDiscriminator0(nn.Module):
    def __init__(self, channels, side, width, hidden, latent):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 5, 2, 2)
        self.conv2 = nn.Conv2d(width, 2 * width, 5, 2, 2)
        self.conv3 = nn.Conv2d(2 * width, 4 * width, 5, 2, 2)
        self.dense4 = nn.Linear(4 * width * (math.ceil(side / 8) ** 2), hidden)
        self.logits, self.noise = nn.Linear(hidden, 1), nn.Linear(hidden, latent)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for conv in (self.conv1, self.conv2, self.conv3):
            x = leaky_relu(conv(x), 0.2)
        h = self.dense4(flat(x)).relu()
        return self.logits(h), torch.sigmoid(self.noise(h))


class TorchKWayDiscriminator1(nn.Module):
    def __init__(self, features, width, classes, latent):
        super().__init__()
        self.dense1 = nn.Linear(features, width)
        self.dense2, self.norm2 = nn.Linear(width, width, bias=False), batch_norm(width)
        self.logits, self.noise = nn.Linear(width, classes), nn.Linear(width, latent)

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        h = leaky_relu(self.dense1(h), 0.2)
        h = leaky_relu(normed(self.norm2, self.dense2(h)), 0.2)
        return self.logits(h), self.noise(h)


class TorchKWayDiscriminator0(nn.Module):
    def __init__(self, channels, side, width, classes, latent):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, 1, 1)
        self.conv2 = nn.Conv2d(width, width, 3, 2, 1, bias=False)
        self.conv3 = nn.Conv2d(width, 2 * width, 3, 1, 1, bias=False)
        self.conv4 = nn.Conv2d(2 * width, 2 * width, 3, 2, 1, bias=False)
        self.conv5 = nn.Conv2d(2 * width, 2 * width, 3, bias=False)
        self.conv6 = nn.Conv2d(2 * width, 2 * width, 1)
        self.norm2 = batch_norm(width)
        self.norm3, self.norm4, self.norm5 = (batch_norm(2 * width) for _ in range(3))
        self.logits = nn.Linear(2 * width, classes)
        self.noise = nn.Linear(2 * width * (side // 4 - 2) ** 2, latent)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = leaky_relu(self.conv1(x), 0.2)
        for index in range(2, 6):
            conv, norm = getattr(self, f"conv{index}"), getattr(self, f"norm{index}")
            h = leaky_relu(norm(conv(h)), 0.2)
        h = leaky_relu(self.conv6(h), 0.2)
        return self.logits(h.mean((2, 3))), self.noise(flat(h))


def same(mine, theirs):
    assert theirs.std() > 1e-4
    np.testing.assert_allclose(mine, theirs.detach(), rtol=1e-4, atol=1e-4)


def applied(module, network, *inputs, train):
    variables = {"batch_stats": {}, **to_flax(network)}
    return module.apply(variables, *inputs, train=train, mutable=["batch_stats"])[0]


@pytest.fixture
def images(rng):
    return rng.uniform(0, 1, (6, 20, 20, 2)).astype(np.float32)


@pytest.mark.parametrize("mean", [0.0, 0.5])
def test_the_encoder_equals_the_reference(images, mean):
    network = TorchEncoder((3, 4), 7, 5, 20, 2)
    mine = applied(Encoder((3, 4), 7, 5, mean=mean), network, 2 * images - 1, train=True)
    theirs = network(images_to_torch(images - np.float32(mean)))
    for ours, reference in zip(mine, theirs, strict=True):
        same(ours, reference)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("embeddings", [None, (3, 4)])
def test_generators_equal_the_references(rng, train, embeddings):
    upper = randomise(TorchGenerator1(5, 4, 7, 6, embeddings)).train(train)
    label, z = rng.integers(0, 5, 6), rng.uniform(0, 1, (6, 4)).astype(np.float32)
    made = applied(Generator1(5, 7, 6, embeddings), upper, label, z, train=train)
    same(made, upper(torch.from_numpy(label), torch.from_numpy(z)))
    how = ((4, 5, 3, 2), embeddings or (5,))
    lower = randomise(TorchGenerator0(2, 20, *how, 7, 4)).train(train)
    features = rng.uniform(0, 1, (6, 7)).astype(np.float32)
    made = applied(Generator0((20, 20, 2), *how), lower, features, z, train=train)
    theirs = images_from_torch(lower(torch.from_numpy(features), torch.from_numpy(z)))
    assert theirs.std() > 1e-3
    np.testing.assert_allclose((made + 1) / 2, theirs, rtol=1e-4, atol=1e-4)


def test_discriminators_equal_the_references(rng, images):
    h = rng.normal(size=(6, 7)).astype(np.float32)
    x, features = images_to_torch(images), torch.from_numpy(h)
    pairs = (
        (Discriminator1(5, 4), TorchDiscriminator1(7, 5, 4), h, features),
        (Discriminator0(2, 6, 4), TorchDiscriminator0(2, 20, 2, 6, 4), 2 * images - 1, x),
        (KWayDiscriminator1(5, 3, 4, 0.2), TorchKWayDiscriminator1(7, 5, 3, 4), h, features),
        (
            KWayDiscriminator0(3, 4, 5, 0.05, 0.3),
            TorchKWayDiscriminator0(2, 20, 3, 4, 5),
            2 * images - 1,
            x - 0.5,
        ),
    )
    for module, network, mine, theirs in pairs:
        for train in (True, False):
            randomise(network).train(train)
            got = applied(module, network, mine, train=train)
            for ours, reference in zip(got, network(theirs), strict=True):
                same(ours, reference)


def test_noise_and_dropout_follow_the_keys_of_rows(images):
    module = KWayDiscriminator0(3, 4, 5, 0.05, 0.3)
    variables = module.init(jax.random.key(0), images, train=False)
    variables["params"] = jax.tree.map(lambda x: 20 * x, variables["params"])  # of a visible size
    keys = jax.random.split(jax.random.key(1), 6)
    first, again, plain = (
        module.apply(variables, images, *given, train=False)[0] for given in ((keys,), (keys,), ())
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - plain).max() > 1e-4
    row = module.apply(variables, images[2:3], keys[2:3], train=False)[0]
    np.testing.assert_allclose(row, first[2:3], rtol=1e-5, atol=1e-6)


def test_mnist_counts():
    params, _ = jax.eval_shape(SGAN().init, jax.random.key(0))
    counts = {n: sum(x.size for x in jax.tree.leaves(p)) for n, p in params.items()}
    assert counts == {
        "encoder": 160_362,
        "generator_1": 426_240,
        "generator_0": 1_516_097,
        "discriminator_1": 144_691,
        "discriminator_0": 794_675,
    }


def test_the_score_of_classifiers_is_a_softmax_with_a_fake_class_of_logit_0(rng):
    logits = rng.normal(size=(5, 3)).astype(np.float32)
    with_fake = np.concatenate([logits, np.zeros((5, 1))], 1)
    real = 1 - np.exp(with_fake)[:, -1] / np.exp(with_fake).sum(1)
    np.testing.assert_allclose(jax.nn.sigmoid(TINY_K_WAY.score(logits)), real, rtol=1e-5)


def test_the_entropy_loss_is_zero_for_the_noise_itself_alone(rng):
    z = rng.uniform(0, 1, (4, 3)).astype(np.float32)
    assert mean_square(z, z) == 0
    other = z.copy()
    other[1, 2] += 0.5
    assert float(mean_square(other, z)) == pytest.approx(0.25 / 12)


def test_scaled_gradients_leave_values():
    value, slope = jax.value_and_grad(lambda x: gradient_scaled(x, 0.01) ** 2)(3.0)
    assert value == 9
    assert float(slope) == pytest.approx(0.06)


def moved(before, after):
    """Networks whose parameters are others."""
    return {
        name
        for name in before.params
        if any(
            not np.array_equal(a, b)
            for a, b in zip(
                jax.tree.leaves(before.params[name]),
                jax.tree.leaves(after.params[name]),
                strict=True,
            )
        )
    }


LEVEL_1, LEVEL_0 = {"generator_1", "discriminator_1"}, {"generator_0", "discriminator_0"}


OWNERS = ({"encoder"}, LEVEL_1, LEVEL_0, LEVEL_1 | LEVEL_0)


@pytest.mark.parametrize(
    ("system", "first"), [(TINY, 0), (FEWER_TURNS, 3)], ids=["sigmoid", "k_way"]
)
def test_stages_move_their_own_networks_alone(system, first, rng):
    state = init(system)
    for stage, own in zip(stages_of(system)[first:], OWNERS[first:], strict=True):
        lead = stage.lead(1)
        batch = {
            "image": rng.uniform(-1, 1, (*lead, 8, 16, 16, 1)).astype(np.float32),
            "label": rng.integers(0, 3, (*lead, 8)).astype(np.int32),
        }
        after, metrics = make_step(system, stage)(jax.tree.map(jnp.copy, state), batch)
        assert moved(state, after) == own
        for values in metrics.values():
            assert all(np.isfinite(value) for value in values.values())
        state = after


def test_the_losses_are_the_sum_of_their_parts(rng):
    state = init(TINY)
    batch = {
        "image": rng.uniform(-1, 1, (8, 16, 16, 1)).astype(np.float32),
        "label": rng.integers(0, 3, 8).astype(np.int32),
    }

    @functools.partial(jax.jit, static_argnames="name")
    def loss(name):
        view = View(TINY.networks(), state.params, state.stats, train=True)
        return getattr(TINY, name)((1, 0), view, batch, jax.random.key(1))

    total, parts = loss("discriminator_loss")
    each = {n: float(parts[n]) for n in parts}
    wanted = sum(each[f"adversarial_{n}"] + 10 * each[f"entropy_{n}"] for n in (0, 1))
    assert float(total) == pytest.approx(wanted, rel=1e-5)
    total, parts = loss("generator_loss")
    each = {n: float(parts[n]) for n in parts}
    names = (("adversarial", 1), ("condition", 1), ("entropy", 10))
    wanted = sum(weight * each[f"{name}_{n}"] for name, weight in names for n in (0, 1))
    assert float(total) == pytest.approx(wanted, rel=1e-5)


def test_the_weaker_the_generators_the_more_they_move():
    _, generator = stages_of(TINY_K_WAY)[1].players
    assert generator.repeats == 7
    for loss, count in ((0.7, 1), (0.6, 3), (0.4, 5), (0.1, 7)):
        assert generator.updates({"discriminator": {"adversarial": jnp.array(loss)}}) == count


def test_uses():
    state = init(TINY)
    made = apply(TINY, state, "generate", {"label": np.arange(3)}, numbers=3).made["image"]
    assert made.shape == (3, 16, 16, 1)
    found = apply(TINY, state, "classify", {"image": made}).made
    np.testing.assert_allclose(found["probabilities"].sum(1), 1, rtol=1e-5)
    again = apply(TINY, state, "redraw", {"image": made}).made["image"]
    assert again.shape == made.shape


def test_sizes_that_it_cannot_make_are_refused():
    with pytest.raises(UserError, match="multiples of 4"):
        dataclasses.replace(TINY, shape=(18, 18, 1))
