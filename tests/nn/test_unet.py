import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxgan.errors import UserError
from jaxgan.nn.dropout import dropout
from jaxgan.nn.unet import UNet, UNetDiscriminator, UNetEncoder, halvings
from tests.reference import translation as reference
from tests.reference.port import images_from_torch, images_to_torch, randomise, to_flax


@torch.no_grad()
@pytest.mark.parametrize("halvings", [8, 4])
def test_it_matches_torchs_batch_norm_of_single_images(rng, halvings):
    torch.manual_seed(0)
    network = randomise(reference.UNet(halvings, channels=2, width=4)).train()
    side = 2**halvings
    x = rng.uniform(-1, 1, (2, side, side, 2)).astype(np.float32)
    theirs = [images_from_torch(network(image[None])) for image in images_to_torch(x)]
    apply = jax.jit(lambda params: UNet(3, width=4).apply({"params": params}, x, train=False))
    ours = apply(to_flax(network)["params"])
    assert np.std(theirs) > 0.05
    np.testing.assert_allclose(ours, np.concatenate(theirs), atol=1e-4)


class TorchDiscriminator(reference.UNet):
    """The whole is judged by the innermost map, pixels by the outermost."""

    def __init__(self, halvings, channels, width):
        super().__init__(halvings, channels, 1, width)
        self.dense = torch.nn.Linear(width * min(8, 2 ** (halvings - 1)), 1)

    def forward(self, x):
        seen = []
        innermost = self.get_submodule(f"down{self.halvings}")
        hook = innermost.register_forward_hook(lambda module, inputs, made: seen.append(made))
        pixels = self.level(1, x)
        hook.remove()
        code = seen[0][:, :, 0, 0]
        whole = self.dense(torch.nn.functional.leaky_relu(code, 0.2))
        return whole[:, 0], pixels[:, 0], code


@torch.no_grad()
def test_discriminator_and_encoder_match_torch(rng):
    torch.manual_seed(0)
    network = randomise(TorchDiscriminator(5, channels=2, width=4)).train()
    x = rng.uniform(-1, 1, (2, 32, 32, 2)).astype(np.float32)
    theirs = [network(image[None]) for image in images_to_torch(x)]
    whole, pixels, code = (torch.cat(each) for each in zip(*theirs, strict=True))
    params = to_flax(network)["params"]
    apply = jax.jit(lambda params: UNetDiscriminator(4).apply({"params": params}, x, train=True))
    ours = apply(params)
    assert whole.std() > 1e-2
    assert pixels.std() > 1e-2
    np.testing.assert_allclose(ours[0], whole, atol=1e-4)
    np.testing.assert_allclose(ours[1], pixels, atol=1e-4)
    encoder = UNetEncoder(4)
    down = {name: value for name, value in params.items() if name.startswith("down")}
    assert down.keys() == encoder.init(jax.random.key(0), x, train=True)["params"].keys()
    np.testing.assert_allclose(encoder.apply({"params": down}, x, train=True), code, atol=1e-4)


@pytest.fixture(scope="module")
def small():
    """A network of four halvings, its variables, and an image."""
    network = UNet(1, width=2)
    x = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (4, 16, 16, 1)), jnp.float32)
    init = jax.jit(lambda key: network.init(key, x, train=True))
    return network, init(jax.random.key(0)), x


def test_dropout_stays_on_and_its_key_is_the_noise(small):
    network, variables, x = small
    apply = jax.jit(lambda x, noise: network.apply(variables, x, noise, train=False))
    keys = jax.random.split(jax.random.key(0), 4)
    images = apply(x, keys)
    np.testing.assert_array_equal(images, apply(x, keys))
    assert (abs(images - apply(x, keys[::-1])).max((1, 2, 3)) > 1e-5).all()
    assert (abs(images - network.apply(variables, x, train=False)).max((1, 2, 3)) > 1e-5).all()
    # An image's output depends on its own key alone.
    mixed = jnp.where(jnp.arange(4) == 2, keys[0], keys)
    np.testing.assert_array_equal(
        apply(x, mixed)[jnp.array([0, 1, 3])], images[jnp.array([0, 1, 3])]
    )


def test_dropout_zeroes_half_and_keeps_the_mean():
    keys = jax.random.split(jax.random.key(0), 50)
    dropped = np.asarray(dropout(jnp.ones((50, 8, 8, 4)), keys, 0.5))
    assert set(np.unique(dropped)) == {0, 2}
    assert abs(dropped.mean() - 1) < 0.04
    assert len({image.tobytes() for image in dropped}) == 50


@pytest.mark.parametrize(("side", "dropped"), [(256, 3), (128, 2), (64, 1), (32, 1), (8, 1)])
def test_dropout_follows_the_maps_of_the_code(side, dropped, monkeypatch):
    """At 256 pixels the maps of 4, 8 and 16 pixels."""
    sides = []
    monkeypatch.setattr("jaxgan.nn.unet.dropout", lambda x, *_: sides.append(x.shape[1]) or x)
    network, x = UNet(3, width=2), jnp.zeros((1, side, side, 3))
    keys = jax.random.split(jax.random.key(0), 1)
    jax.eval_shape(lambda: network.init(jax.random.key(0), x, keys, train=True))
    assert sides == [4, 8, 16][:dropped]


def test_skips_pass_detail_when_the_innermost_map_is_nothing(small):
    network, variables, x = small
    params = dict(variables["params"])
    params["down4"] = jax.tree.map(jnp.zeros_like, params["down4"])
    images = network.apply({"params": params}, x, train=False)
    moved = network.apply({"params": params}, x.at[:, 5, 5].add(1), train=False)
    assert abs(moved - images).max() > 1e-4


@pytest.mark.parametrize("shape", [(4, 4, 1), (48, 48, 3), (32, 16, 3)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(UserError, match="side 8, 16, 32"):
        UNet(1).init(jax.random.key(0), jnp.zeros((1, *shape)), train=True)
    with pytest.raises(UserError, match="side 8, 16, 32"):
        halvings((32,))
