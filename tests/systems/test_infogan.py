import dataclasses
import io
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from rich.console import Console
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, one_hot

from jaxgan import Mesh, apply, config, data, init, make_step
from jaxgan.errors import UserError
from jaxgan.run import train
from jaxgan.system import stages_of
from jaxgan.systems.infogan import (
    Discriminator,
    Generator,
    InfoGAN,
    Recogniser,
    category_information,
    code_information,
    gaussian_nll,
)
from jaxgan.view import View
from tests.reference.port import images_from_torch, images_to_torch, randomise, to_flax

TINY = InfoGAN(shape=(8, 8, 1), latent=3, categories=4, width=2, hidden=6, recogniser_hidden=5)


class TorchGenerator(nn.Module):
    """Noise, categories and codes to images [b, 1, 28, 28] in [0, 1]; maps begin channels last."""

    def __init__(self, hidden: int = 1024, width: int = 64):
        super().__init__()
        self.dense1 = nn.Linear(62 + 10 + 2, hidden)
        self.norm1 = nn.BatchNorm2d(hidden)
        self.dense2 = nn.Linear(hidden, 7 * 7 * 2 * width)
        self.norm2 = nn.BatchNorm2d(7 * 7 * 2 * width)
        self.conv3 = nn.ConvTranspose2d(2 * width, width, 4, 2, 1)
        self.norm3 = nn.BatchNorm2d(width)
        self.conv4 = nn.ConvTranspose2d(width, 1, 4, 2, 1)

    def forward(self, z: Tensor, category: Tensor, code: Tensor) -> Tensor:
        h = torch.cat([z, one_hot(category, 10), code], 1)
        h = self.norm1(self.dense1(h)[:, :, None, None]).relu()
        h = self.norm2(self.dense2(h.flatten(1))[:, :, None, None]).relu()
        h = h.reshape(len(h), 7, 7, -1).permute(0, 3, 1, 2)
        return torch.sigmoid(self.conv4(self.norm3(self.conv3(h)).relu()))


class TorchDiscriminator(nn.Module):
    """Images in [0, 1] to logits [b] and features [b, hidden]."""

    def __init__(self, hidden: int = 1024, width: int = 64):
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 4, 2, 1)
        self.conv2 = nn.Conv2d(width, 2 * width, 4, 2, 1)
        self.norm2 = nn.BatchNorm2d(2 * width)
        self.dense3 = nn.Linear(7 * 7 * 2 * width, hidden)
        self.norm3 = nn.BatchNorm2d(hidden)
        self.dense4 = nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = leaky_relu(self.norm2(self.conv2(leaky_relu(self.conv1(x), 0.01))), 0.01)
        h = self.dense3(h.permute(0, 2, 3, 1).flatten(1))
        h = leaky_relu(self.norm3(h[:, :, None, None]), 0.01).flatten(1)
        return self.dense4(h).flatten(), h


class TorchRecogniser(nn.Module):
    """Features to the logits of categories, the means of codes and what nothing uses: [b, 14]."""

    def __init__(self, hidden: int = 1024):
        super().__init__()
        self.dense1 = nn.Linear(hidden, 128)
        self.norm1 = nn.BatchNorm2d(128)
        self.dense2 = nn.Linear(128, 14)

    def forward(self, features: Tensor) -> Tensor:
        h = self.norm1(self.dense1(features)[:, :, None, None])
        return self.dense2(leaky_relu(h, 0.01).flatten(1))


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def state():
    return init(TINY)


def size(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_parameter_counts_are_the_published_codes():
    params, _ = jax.eval_shape(InfoGAN().init, jax.random.key(0))
    counts = {name: sum(x.size for x in jax.tree.leaves(tree)) for name, tree in params.items()}
    assert counts == {"generator": 6_652_481, "discriminator": 6_559_169, "recogniser": 133_262}
    assert counts == {
        "generator": size(TorchGenerator()),
        "discriminator": size(TorchDiscriminator()),
        "recogniser": size(TorchRecogniser()),
    }


@torch.no_grad()
@pytest.mark.parametrize("train", [False, True])
def test_generator_matches_torch(rng, train):
    network = randomise(TorchGenerator(hidden=12, width=4)).train(train)
    z, code = (rng.uniform(-1, 1, (5, n)).astype(np.float32) for n in (62, 2))
    category = rng.integers(0, 10, 5)
    ours, _ = Generator(12, 4, 10, (28, 28, 1)).apply(
        to_flax(network), z, category, code, train=train, mutable=["batch_stats"]
    )
    theirs = images_from_torch(network(*map(torch.from_numpy, (z, category, code))))
    assert theirs.std() > 1e-3
    np.testing.assert_allclose((ours + 1) / 2, theirs, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("train", [False, True])
def test_discriminator_and_recogniser_match_torch(rng, train):
    network = randomise(TorchDiscriminator(hidden=12, width=4)).train(train)
    head = randomise(TorchRecogniser(hidden=12)).train(train)
    x = rng.uniform(0, 1, (5, 28, 28, 1)).astype(np.float32)
    variables, how = to_flax(network), {"train": train, "mutable": ["batch_stats"]}
    (logits, features), _ = Discriminator(12, 4).apply(variables, 2 * x - 1, **how)
    their_logits, their_features = network(images_to_torch(x))
    assert their_logits.std() > 1e-3
    np.testing.assert_allclose(logits, their_logits, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(features, their_features, rtol=1e-4, atol=1e-4)
    (categories, means), _ = Recogniser(128, 10, 2).apply(to_flax(head), features, **how)
    theirs = head(their_features)
    assert theirs.std() > 1e-3
    np.testing.assert_allclose(categories, theirs[:, :10], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(means, theirs[:, 10:12], rtol=1e-4, atol=1e-4)


def test_codes_are_scored_by_a_normal_density_of_deviation_1(rng):
    code, means = (rng.normal(size=(6, 2)).astype(np.float32) for _ in range(2))
    nll = gaussian_nll(code, means)
    expected = -torch.distributions.Normal(torch.from_numpy(means), 1).log_prob(
        torch.from_numpy(code)
    )
    np.testing.assert_allclose(nll, expected.sum(1), rtol=1e-5)
    by_hand = ((code - means) ** 2 / 2 + math.log(2 * math.pi) / 2).sum(1)
    np.testing.assert_allclose(nll, by_hand, rtol=1e-5)
    # Means of 0 say nothing; perfect ones half the mean square.
    assert float(code_information(jnp.zeros((6, 2)), code)) == 0
    perfect = (code**2).sum(1).mean() / 2
    np.testing.assert_allclose(code_information(code, code), perfect, rtol=1e-5)
    assert code_information(means, code) < perfect


def test_information_on_categories_is_at_most_their_entropy(rng):
    category = rng.integers(0, 10, 50)
    perfect = 1000 * np.eye(10, dtype=np.float32)[category]
    np.testing.assert_allclose(category_information(perfect, category), math.log(10), rtol=1e-6)
    same = np.full((50, 10), 3.0, np.float32)
    np.testing.assert_allclose(category_information(same, category), 0, atol=1e-6)
    for scale in (0.1, 1.0, 10.0):
        logits = (scale * rng.normal(size=(50, 10))).astype(np.float32)
        assert category_information(logits, category) < math.log(10)


def alone(name):
    """The stage in which only one player moves."""
    (stage,) = stages_of(TINY)
    players = tuple(player for player in stage.players if player.name == name)
    return dataclasses.replace(stage, players=players)


def moved(before, after):
    """Networks whose parameters or statistics are others."""
    return {
        name
        for name in before.params
        for kind in ("params", "stats")
        if any(
            jax.tree.leaves(
                jax.tree.map(
                    lambda a, b: not np.array_equal(a, b),
                    getattr(before, kind)[name],
                    getattr(after, kind)[name],
                )
            )
        )
    }


def test_the_recogniser_learns_with_the_discriminator_and_guides_the_generator(state, rng):
    batch = {"image": rng.uniform(-1, 1, (8, 8, 8, 1)).astype(np.float32)}
    step = make_step(TINY, alone("discriminator"))
    after, metrics = step(jax.tree.map(jnp.copy, state), batch)
    assert moved(state, after) == {"discriminator", "recogniser"}
    assert {"category_information", "code_information"} <= set(metrics["discriminator"])
    step = make_step(TINY, alone("generator"))
    after, _ = step(jax.tree.map(jnp.copy, state), batch)
    assert moved(state, after) == {"generator"}
    # The generator's step depends on the recogniser, which it does not own.
    other = {**state.params, "recogniser": init(TINY, seed=1).params["recogniser"]}
    otherwise, _ = step(jax.tree.map(jnp.copy, state.replace(params=other)), batch)
    assert moved(after, otherwise) == {"generator", "recogniser"}
    np.testing.assert_array_equal(
        otherwise.params["recogniser"]["dense1"]["kernel"], other["recogniser"]["dense1"]["kernel"]
    )


def test_information_is_in_both_losses(state, rng):
    view = View(TINY.networks(), state.params, state.stats, train=True)
    batch = {"image": rng.uniform(-1, 1, (8, 8, 8, 1)).astype(np.float32)}
    key, without = jax.random.key(1), dataclasses.replace(TINY, category_weight=0, code_weight=0)
    _, parts = TINY.discriminator_loss(view, batch, key)
    total = parts["category_information"] + parts["code_information"]
    assert abs(total) > 1e-4
    for loss in ("discriminator_loss", "generator_loss"):
        with_it, plain = (getattr(each, loss)(view, batch, key)[0] for each in (TINY, without))
        np.testing.assert_allclose(plain - with_it, total, rtol=1e-3, atol=1e-6)


def test_categories_and_codes_are_given_and_recognised(state):
    drawn = apply(TINY, state, "generate", numbers=200).taken
    assert set(drawn["category"]) == {0, 1, 2, 3}
    for name, count in (("z", 3), ("code", 2)):
        assert drawn[name].shape == (200, count)
        assert -1 <= drawn[name].min() < -0.9 < 0.9 < drawn[name].max() <= 1
    given = {"z": np.zeros((1, 3), np.float32), "category": np.array([0, 0, 1])}
    given["code"] = np.array([[0, 0], [0, 1], [0, 0]], np.float32)
    images = apply(TINY, state, "generate", given).made["image"]
    assert len(np.unique(images.reshape(3, -1).round(6), axis=0)) == 3
    found = apply(TINY, state, "infer", {"image": images}).made
    assert found["code"].shape == (3, 2)
    np.testing.assert_allclose(found["probabilities"].sum(1), 1, rtol=1e-5)
    likeliest = found["probabilities"][np.arange(3), found["category"]]
    np.testing.assert_allclose(likeliest, found["probabilities"].max(1), rtol=1e-6)


def test_networks_start_as_the_published_ones():
    params, _ = InfoGAN(width=16, hidden=64).init(jax.random.key(0))
    for network in params.values():
        for name, layer in network.items():
            if "norm" in name:
                assert abs(layer["scale"] - 1).max() < 0.1
                assert not layer["bias"].any()
            else:
                assert not layer["bias"].any()
                if layer["kernel"].size > 1000:
                    assert 0.016 < layer["kernel"].std() < 0.022
    convs = [params["discriminator"][name]["kernel"] for name in ("conv1", "conv2")]
    assert max(abs(kernel).max() for kernel in convs) <= 0.04  # truncated at two deviations


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"shape": (30, 28, 1)}, "multiples of 4"),
        ({"categories": 1}, "categories is 1: it must be at least 2"),
        ({"codes": 0}, "codes is 0: it must be at least 1"),
    ],
)
def test_what_cannot_be_is_refused(wrong, message):
    with pytest.raises(UserError, match=message):
        InfoGAN(**wrong)


@pytest.mark.slow
def test_categories_become_digits(tmp_path):
    """By the best matching, one to one, on real digits; no label was ever shown."""
    experiment = dataclasses.replace(config.load("configs/infogan_mnist5k.py"), mesh=Mesh(data=1))
    run = train(experiment, tmp_path / "run", console=Console(file=io.StringIO()))
    digits = data.open_source("mnist5k").take(np.arange(5000))
    category = run.use("infer", image=digits["image"])["category"]
    table = np.zeros((10, 10), int)
    np.add.at(table, (category, digits["label"]), 1)
    assert table[linear_sum_assignment(-table)].sum() >= 0.8 * 5000
