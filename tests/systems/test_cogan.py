import dataclasses
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from rich.console import Console
from sklearn.svm import SVC
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, max_pool2d

from jaxgan import Mesh, apply, config, data, init, make_step
from jaxgan.errors import UserError
from jaxgan.run import train
from jaxgan.system import stages_of
from jaxgan.systems.cogan import CoGAN, Discriminator, Generator
from jaxgan.view import View
from tests.reference.port import images_from_torch, images_to_torch, randomise, to_flax

TINY = CoGAN(width=2, latent=5)


class TorchGenerator(nn.Module):
    """[b, latent] to images [b, 1, 28, 28] of both kinds in [0, 1]."""

    def __init__(self, latent: int = 100, width: int = 128):
        super().__init__()
        before = latent
        for index in range(1, 5):
            features = width * 2 ** (4 - index)
            conv = (
                nn.ConvTranspose2d(before, features, 4)
                if index == 1
                else nn.ConvTranspose2d(before, features, 3, 2, 1)
            )
            self.add_module(f"conv{index}", conv)
            self.add_module(f"norm{index}", nn.BatchNorm2d(features, affine=False))
            self.add_module(f"prelu{index}", nn.PReLU())
            before = features
        self.head_image = nn.ConvTranspose2d(width, 1, 6, padding=1)
        self.head_other = nn.ConvTranspose2d(width, 1, 6, padding=1)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        h = z[:, :, None, None]
        for index in range(1, 5):
            h = getattr(self, f"norm{index}")(getattr(self, f"conv{index}")(h))
            h = getattr(self, f"prelu{index}")(h)
        return torch.sigmoid(self.head_image(h)), torch.sigmoid(self.head_other(h))


class TorchDiscriminator(nn.Module):
    """Images in [0, 1] to two logits each, [2 b, 2]: first those of one kind, then the others."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1_image = nn.Conv2d(1, 20, 5)
        self.conv1_other = nn.Conv2d(1, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.conv3 = nn.Conv2d(50, 500, 4)
        self.prelu3 = nn.PReLU()
        self.conv4 = nn.Conv2d(500, 2, 1)

    def forward(self, image: Tensor, other: Tensor) -> Tensor:
        apart = [max_pool2d(self.conv1_image(image), 2), max_pool2d(self.conv1_other(other), 2)]
        h = max_pool2d(self.conv2(torch.cat(apart)), 2)
        return self.conv4(self.prelu3(self.conv3(h))).flatten(1)


def with_slopes(network):
    """Flax variables of a PyTorch network, with its PReLUs."""
    variables = to_flax(network)
    for name, module in network.named_modules():
        if isinstance(module, nn.PReLU):
            slope = module.weight.detach().numpy().reshape(())
            variables["params"][name] = {"negative_slope": slope}
    return variables


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def state():
    return init(TINY)


def size(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_parameter_counts_are_the_published_codes():
    params, _ = jax.eval_shape(CoGAN().init, jax.random.key(0))
    counts = {name: sum(x.size for x in jax.tree.leaves(tree)) for name, tree in params.items()}
    assert counts == {"generator": 7_842_694, "discriminator": 427_593}
    assert counts == {
        "generator": size(TorchGenerator()),
        "discriminator": size(TorchDiscriminator()),
    }


@torch.no_grad()
@pytest.mark.parametrize("train", [False, True])
def test_generator_matches_torch(rng, train):
    network = randomise(TorchGenerator(latent=12, width=8))
    network.prelu2.weight.fill_(0.4)
    variables = with_slopes(network.train(train))
    z = rng.normal(size=(3, 12)).astype(np.float32)
    ours, _ = Generator(8, 1).apply(variables, z, train=train, mutable=["batch_stats"])
    for made, theirs in zip(ours, network(torch.from_numpy(z)), strict=True):
        assert theirs.std() > 1e-3
        np.testing.assert_allclose((made + 1) / 2, images_from_torch(theirs), atol=1e-4)


@torch.no_grad()
def test_discriminator_matches_torch(rng):
    network = TorchDiscriminator()
    both = rng.uniform(0, 1, (2, 3, 28, 28, 1)).astype(np.float32)
    ours = Discriminator().apply(with_slopes(network), *(2 * both - 1), train=True)
    theirs = network(*map(images_to_torch, both))
    assert theirs.std() > 1e-3
    expected = (theirs[:, 1] - theirs[:, 0]).reshape(2, 3).T
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)


def test_losses_are_cross_entropies_of_two_logits(state, rng):
    """1 is real, and the mean is over both kinds."""
    network = TorchDiscriminator()
    params = {**state.params, "discriminator": with_slopes(network)["params"]}
    view = View(TINY.networks(), params, state.stats, train=True)
    batch = {
        name: rng.uniform(-1, 1, (4, 28, 28, 1)).astype(np.float32) for name in ("image", "other")
    }
    key = jax.random.key(3)
    fake = network(*(images_to_torch((np.asarray(x) + 1) / 2) for x in TINY.fakes(view, key, 4)))
    real = network(*(images_to_torch((x + 1) / 2) for x in batch.values()))
    ones, zeros = torch.ones(8, dtype=int), torch.zeros(8, dtype=int)
    loss, _ = TINY.discriminator_loss(view, batch, key)
    expected = cross_entropy(real, ones) + cross_entropy(fake, zeros)
    np.testing.assert_allclose(loss, expected.item(), rtol=1e-4)
    loss, _ = TINY.generator_loss(view, batch, key)
    np.testing.assert_allclose(loss, cross_entropy(fake, ones).item(), rtol=1e-4)


def test_one_kind_moves_what_both_share_and_nothing_of_the_other(state):
    def loss(params):
        view = View(TINY.networks(), {"generator": params}, state.stats, train=True)
        image, _ = view("generator", jax.random.normal(jax.random.key(0), (4, 5)))
        return jnp.square(image).sum()

    moved = {
        name: max(float(abs(x).max()) for x in jax.tree.leaves(tree))
        for name, tree in jax.grad(loss)(state.params["generator"]).items()
    }
    assert moved.pop("head_other") == 0
    assert len(moved) == 4 + 4 + 1  # convolutions, slopes and a head
    assert min(moved.values()) > 1e-6


def test_equal_heads_make_equal_images(state):
    params = {**state.params["generator"]}
    params["head_other"] = params["head_image"]
    view = View(TINY.networks(), {"generator": params}, state.stats, train=True)
    image, other = view("generator", jax.random.normal(jax.random.key(0), (4, 5)))
    np.testing.assert_array_equal(image, other)
    image, other = View(TINY.networks(), state.params, state.stats, train=True)(
        "generator", jax.random.normal(jax.random.key(0), (4, 5))
    )
    assert abs(image - other).max() > 1e-3


def test_networks_start_as_the_published_ones():
    """Xavier's uniform kernels times sqrt 2, biases 0.1, slopes 0.25."""
    params, _ = CoGAN(width=8).init(jax.random.key(0))
    for tree in params.values():
        for name, layer in tree.items():
            if "prelu" in name:
                assert layer["negative_slope"] == 0.25
                continue
            height, width, inputs, outputs = layer["kernel"].shape
            limit = np.sqrt(2 * 6 / (height * width * (inputs + outputs)))
            assert 0.8 * limit < abs(layer["kernel"]).max() <= limit
            np.testing.assert_array_equal(layer["bias"], np.float32(0.1))


def test_weights_decay_as_in_torchs_adam(rng):
    values = rng.normal(size=(3, 4)).astype(np.float32)
    theirs = nn.Parameter(torch.from_numpy(values.copy()))
    adam = torch.optim.Adam([theirs], lr=2e-4, betas=(0.5, 0.999), weight_decay=5e-4)
    for player in stages_of(CoGAN())[0].players:
        ours, moments = jnp.asarray(values), player.optimizer.init(jnp.asarray(values))
        for gradient in np.float32([0.0, 1e-3, -2e-4]):
            updates, moments = player.optimizer.update(jnp.full((3, 4), gradient), moments, ours)
            ours += updates
        if player.name == "discriminator":
            for gradient in (0.0, 1e-3, -2e-4):
                theirs.grad = torch.full((3, 4), gradient)
                adam.step()
        np.testing.assert_allclose(ours, theirs.detach(), rtol=1e-6, atol=1e-7)
        assert abs(ours - values).max() > 1e-4


def test_a_step_moves_both_players_and_pairs_are_drawn(state, rng):
    assert [player.name for player in stages_of(TINY)[0].players] == ["discriminator", "generator"]
    batch = {
        name: rng.uniform(-1, 1, (4, 28, 28, 1)).astype(np.float32) for name in ("image", "other")
    }
    after, metrics = make_step(TINY)(jax.tree.map(jnp.copy, state), batch)
    assert np.isfinite(float(metrics["generator"]["loss"]))
    for name in ("generator", "discriminator"):
        kernels = [s.params[name]["conv2"]["kernel"] for s in (state, after)]
        assert abs(kernels[1] - kernels[0]).max() > 1e-5
    made = apply(TINY, after, "generate", numbers=3).made
    assert {name: x.shape for name, x in made.items()} == {
        "image": (3, 28, 28, 1),
        "other": (3, 28, 28, 1),
    }
    assert -1 <= min(x.min() for x in made.values()) < max(x.max() for x in made.values()) <= 1


@pytest.mark.parametrize("shape", [(32, 32, 1), (28, 28), (28, 24, 1)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(UserError, match="CoGAN's networks make 28 x 28 pixels"):
        CoGAN(shape=shape)


@pytest.mark.slow
def test_digits_and_contours_belong_together(tmp_path):
    """No pair was ever shown: the halves of the data have no digit in common."""
    experiment = dataclasses.replace(config.load("configs/cogan_digits.py"), mesh=Mesh(data=1))
    run = train(experiment, tmp_path / "run", console=Console(file=io.StringIO()))
    made = run.use("generate", n=1000)
    light = data.contours(made["image"]) > 127
    assert ((made["other"] > 127) == light).mean() >= 0.85
    digits = data.open_source("mnist5k").take(np.arange(5000))
    real = {"image": digits["image"], "other": data.contours(digits["image"])}
    first, second = (
        SVC(C=5, gamma="scale")
        .fit(real[name].reshape(5000, -1) / 255, digits["label"])
        .predict(made[name].reshape(1000, -1) / 255)
        for name in ("image", "other")
    )
    assert (first == second).mean() >= 0.8
    assert len(set(first)) == 10
