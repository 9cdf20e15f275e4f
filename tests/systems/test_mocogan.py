import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen
from torch import Tensor, nn

from jaxgan import Mesh, apply, config, data, init, make_step
from jaxgan.errors import UserError
from jaxgan.parallel.mesh import batch_sharding, make_mesh
from jaxgan.run import train
from jaxgan.systems.mocogan import Discriminator, Generator, Length, MoCoGAN
from jaxgan.view import View
from tests.reference.port import images_from_torch, images_to_torch, randomise, to_flax

TINY = MoCoGAN(shape=(7, 8, 8, 1), content=3, motion=2, width=2, discriminator_width=2)


class TorchGenerator(nn.Module):
    """Content, category and motion, of clips of t frames, to frames [b * t, c, 64, 64]."""

    def __init__(self, width: int, sizes: tuple[int, int, int], channels: int = 3):
        super().__init__()
        self.recurrent = nn.GRUCell(sizes[2], sizes[2])
        before = sum(sizes)
        for layer, features in enumerate((8 * width, 4 * width, 2 * width, width), 1):
            step = (4, 1, 0) if layer == 1 else (4, 2, 1)
            self.add_module(f"conv{layer}", nn.ConvTranspose2d(before, features, *step, bias=False))
            self.add_module(f"norm{layer}", nn.BatchNorm2d(features))
            before = features
        self.conv5 = nn.ConvTranspose2d(before, channels, 4, 2, 1, bias=False)

    def forward(self, content: Tensor, category: Tensor, h: Tensor, noise: Tensor) -> Tensor:
        frames = []
        for each in noise.unbind(1):
            h = self.recurrent(each, h)
            frames.append(torch.cat([content, category, h], 1))
        x = torch.stack(frames, 1).flatten(0, 1)[:, :, None, None]
        for layer in range(1, 5):
            norm, conv = (self.get_submodule(f"{n}{layer}") for n in ("norm", "conv"))
            x = norm(conv(x)).relu()
        return torch.tanh(self.conv5(x))


class TorchDiscriminator(nn.Module):
    """Frames [b, c, h, w], or clips [b, c, t, h, w], to logits."""

    def __init__(self, width: int, *, clips: bool, patch: bool, outputs: int = 1):
        super().__init__()
        conv, norm = (nn.Conv3d, nn.BatchNorm3d) if clips else (nn.Conv2d, nn.BatchNorm2d)
        how = {"stride": (1, 2, 2), "padding": (0, 1, 1)} if clips else {"stride": 2, "padding": 1}
        self.layers, before = (3 if patch else 4), 3
        for layer in range(1, self.layers + 1):
            features = width * 2 ** (layer - 1)
            self.add_module(f"conv{layer}", conv(before, features, 4, bias=False, **how))
            if layer > 1:
                self.add_module(f"norm{layer}", norm(features))
            before = features
        last = how if patch else {}
        self.add_module(f"conv{self.layers + 1}", conv(before, outputs, 4, bias=False, **last))

    def forward(self, x: Tensor) -> Tensor:
        for layer in range(1, self.layers + 1):
            x = self.get_submodule(f"conv{layer}")(x)
            x = self.get_submodule(f"norm{layer}")(x) if layer > 1 else x
            x = nn.functional.leaky_relu(x, 0.2)
        return self.get_submodule(f"conv{self.layers + 1}")(x)


def size(network):
    return sum(parameter.numel() for parameter in network.parameters())


def ported(network):
    """Variables of Flax; of 3d layers and the GRU, too."""
    variables = to_flax(network)
    params = variables.setdefault("params", {})
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv3d):
            kernel = module.weight.detach().numpy().transpose(2, 3, 4, 1, 0)
            params[name] = {"kernel": np.ascontiguousarray(kernel)}
        if isinstance(module, nn.BatchNorm3d):
            params[name] = {
                "scale": module.weight.detach().numpy(),
                "bias": module.bias.detach().numpy(),
            }
            stats = variables.setdefault("batch_stats", {})
            stats[name] = {
                "mean": module.running_mean.numpy().copy(),
                "var": module.running_var.numpy().copy(),
            }
        if isinstance(module, nn.GRUCell):
            cell = {
                ours: {
                    "kernel": getattr(module, f"weight_{kind}").detach().numpy().T,
                    "bias": getattr(module, f"bias_{kind}").detach().numpy(),
                }
                for ours, kind in (("input", "ih"), ("hidden", "hh"))
            }
            params["motion"] = {"cell": cell}
    return variables


def counts(system):
    params, _ = jax.eval_shape(system.init, jax.random.key(0))
    return {name: sum(x.size for x in jax.tree.leaves(tree)) for name, tree in params.items()}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def state():
    return init(TINY)


def test_parameter_counts_are_the_published_codes():
    assert counts(MoCoGAN(classes=6)) == {
        "generator": 3_298_836,
        "frame_discriminator": 663_296,
        "clip_discriminator": 11_253_504,
    }
    other = counts(MoCoGAN(frames="whole", clips="patch"))
    assert other["frame_discriminator"] == 2_765_568
    assert other["clip_discriminator"] == 2_650_880
    assert counts(MoCoGAN())["clip_discriminator"] == 11_056_896
    assert size(TorchGenerator(64, (50, 6, 10))) == 3_298_836
    assert size(TorchDiscriminator(64, clips=True, patch=False, outputs=7)) == 11_253_504
    assert size(TorchDiscriminator(64, clips=False, patch=False)) == 2_765_568
    whole = jax.tree.leaves(jax.eval_shape(MoCoGAN().init, jax.random.key(0))[0]["generator"])
    recurrent = (10 + 10 + 2) * 30
    assert recurrent == 660
    assert sum(leaf.size for leaf in whole if leaf.shape in ((10, 30), (30,))) == recurrent


@torch.no_grad()
@pytest.mark.parametrize("train", [False, True])
def test_generator_matches_torch(rng, train):
    network = randomise(TorchGenerator(2, (5, 3, 4))).train(train)
    content, start = (rng.normal(size=(2, n)).astype(np.float32) for n in (5, 4))
    noise, category = rng.normal(size=(2, 3, 4)).astype(np.float32), np.array([2, 0])
    one_hot = np.eye(3, dtype=np.float32)[category]
    ours, _ = Generator(2, 4, 3, 4, 3).apply(
        ported(network), content, start, noise, category, train=train, mutable=["batch_stats"]
    )
    theirs = network(*map(torch.from_numpy, (content, one_hot, start, noise)))
    assert ours.shape == (2, 3, 64, 64, 3)
    assert theirs.std() > 1e-3
    np.testing.assert_allclose(ours.reshape(-1, 64, 64, 3), images_from_torch(theirs), atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("clips", [False, True])
@pytest.mark.parametrize("form", ["whole", "patch"])
def test_discriminators_match_torch(rng, clips, form):
    classes = 2 if clips and form == "whole" else 0
    network = TorchDiscriminator(2, clips=clips, patch=form == "patch", outputs=1 + classes)
    network = randomise(network).train()
    x = rng.uniform(-1, 1, (2, 16, 64, 64, 3) if clips else (3, 64, 64, 3)).astype(np.float32)
    module = Discriminator(form, 2, 4, clips, classes)
    (logits, named), _ = module.apply(ported(network), x, train=True, mutable=["batch_stats"])
    theirs = network(images_to_torch(x)).numpy()
    assert theirs.std() > 1e-4
    np.testing.assert_allclose(logits, theirs[:, 0], rtol=1e-4, atol=1e-5)
    shape = {(True, "whole"): (1, 1, 1), (True, "patch"): (4, 4, 4)}
    assert logits.shape[1:] == shape.get((clips, form), (1, 1) if form == "whole" else (4, 4))
    if classes:
        np.testing.assert_allclose(named, theirs[:, 1:, 0, 0, 0], rtol=1e-4, atol=1e-5)
    else:
        assert named is None


def test_sixteen_frames_are_the_least_of_the_published_discriminator():
    assert MoCoGAN(shape=(16, 64, 64, 3))
    with pytest.raises(UserError, match=r"15 frames: the 5 convolutions .* need 16 at least"):
        MoCoGAN(shape=(15, 64, 64, 3))
    for wrong in ((16, 48, 48, 3), (16, 64, 32, 3), (16, 4, 4, 3), (64, 64, 3)):
        with pytest.raises(UserError, match=r"equal height and width of 8, 16, 32"):
            MoCoGAN(shape=wrong)
    with pytest.raises(UserError, match="labelled is true, but classes is 0"):
        MoCoGAN(labelled=True)
    with pytest.raises(UserError, match="discriminator of frames names categories"):
        dataclasses.replace(TINY, named="both")
    with pytest.raises(UserError, match="names no categories"):
        MoCoGAN(clips="patch", classes=3)
    assert MoCoGAN(clips="patch", classes=3, information=0.0)


def frames_of(system, state, taken):
    """What reaches the first layer of frames: content, category and motion, [n, t, k]."""
    seen = []

    def watch(next_fun, args, kwargs, context):
        if context.module.name == "conv1":
            seen.append(args[0])
        return next_fun(*args, **kwargs)

    with linen.intercept_methods(watch):
        system.networks()["generator"].apply(
            {"params": state.params["generator"], **state.stats["generator"]}, *taken, train=False
        )
    return np.asarray(seen[0]).reshape(len(taken[0]), -1, seen[0].shape[-1])


def test_content_and_category_stay_and_motion_does_not(rng):
    system = dataclasses.replace(TINY, classes=2)
    state = init(system)
    z = [rng.normal(size=s).astype(np.float32) for s in ((4, 3), (4, 2), (4, 7, 2))]
    codes = frames_of(system, state, (*z, np.array([0, 1, 1, 0])))
    still, motion = codes[..., :5], codes[..., 5:]
    np.testing.assert_array_equal(still, np.broadcast_to(still[:, :1], still.shape))
    np.testing.assert_array_equal(still[:, 0, :3], z[0])
    assert (abs(np.diff(motion, axis=1)) > 1e-6).all()


def test_a_single_frame_is_that_frame_of_the_clip(rng, state):
    network = TINY.networks()["generator"]
    variables = {"params": state.params["generator"], **state.stats["generator"]}
    z = [rng.normal(size=s).astype(np.float32) for s in ((3, 3), (3, 2), (3, 7, 2))]
    frame = np.array([0, 6, 4])
    clips = network.apply(variables, *z, train=False)
    single = network.apply(variables, *z, None, frame, train=False)
    np.testing.assert_allclose(single, clips[np.arange(3), frame], atol=1e-6)


def test_noise_is_each_rows_own_and_new_in_every_layer(rng):
    x = np.zeros((2, 16, 16, 1), np.float32)
    module = Discriminator("patch", 2, 2, False, noise=0.5)
    variables = module.init(jax.random.key(0), x, train=False)
    keys = jax.random.split(jax.random.key(1), 2)
    plain, _ = module.apply(variables, x, train=False)
    noisy, _ = module.apply(variables, x, keys, train=False)
    again, _ = module.apply(variables, x, keys[::-1], train=False)
    np.testing.assert_array_equal(plain, 0)
    assert abs(noisy[0] - noisy[1]).max() > 1e-3
    np.testing.assert_allclose(again, noisy[::-1], atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"classes": 2, "labelled": True, "noise": 0.1},
        {"classes": 3, "information": 0.5},
        {
            "classes": 2,
            "labelled": True,
            "frames": "whole",
            "named": "both",
            "judged": 3,
            "spectral": True,
            "frame_width": 3,
            "discriminator_rate": 1e-3,
        },
    ],
)
def test_a_step_moves_all_and_metrics_say_how(options):
    system = dataclasses.replace(TINY, **options)
    state, step = init(system), make_step(system)
    before = jax.tree.map(np.array, state.params)
    clips = np.random.default_rng(0).uniform(-1, 1, (2, 7, 8, 8, 1)).astype(np.float32)
    batch = {"clip": clips} | ({"label": np.array([0, 1])} if system.labelled else {})
    state, metrics = step(state, batch)
    moved = jax.tree.map(lambda a, b: float(abs(a - b).max()) > 0, before, state.params)
    assert all(jax.tree.leaves(moved))
    named = {player for player, each in metrics.items() if "category_loss" in each}
    judges = {"frame_discriminator"} if system.named == "both" else set()
    assert named == {"clip_discriminator", "generator", *judges}
    assert ("frame_category_loss" in metrics["generator"]) == bool(judges)


def test_losses_are_those_of_the_paper_where_all_logits_are_zero():
    class Zeros(View):
        def __call__(self, network, *inputs, **options):
            if network == "generator":
                shape = TINY.shape if inputs[-1] is None else TINY.shape[1:]
                return jnp.zeros((len(inputs[0]), *shape))
            return jnp.zeros((len(inputs[0]), 1)), None

    view, batch = Zeros({}, {}, {}, train=True), {"clip": jnp.zeros((2, *TINY.shape))}
    for loss in (TINY.frame_loss, TINY.clip_loss, TINY.generator_loss):
        assert float(loss(view, batch, jax.random.key(0))[0]) == pytest.approx(2 * np.log(2))


def test_clips_may_be_longer_than_those_learned_from(state):
    made = apply(TINY, state, "generate", numbers=2).made["clip"]
    assert made.shape == (2, 7, 8, 8, 1)
    longer = apply(TINY, state, "generate", numbers=2, options=Length(frames=25)).made["clip"]
    assert longer.shape == (2, 25, 8, 8, 1)


@pytest.mark.usefixtures("all_in_shares")
def test_eight_devices_equal_one():
    system = dataclasses.replace(TINY, noise=0.1)
    clips = np.random.default_rng(0).uniform(-1, 1, (8, 7, 8, 8, 1)).astype(np.float32)
    made = []
    for mesh in (make_mesh(1), make_mesh(8)):
        state, step = init(system, mesh=mesh), make_step(system, mesh=mesh)
        state, metrics = step(
            state, {"clip": jax.device_put(clips, batch_sharding(mesh, leading=0))}
        )
        made.append(jax.tree.map(np.asarray, (metrics, state.opt, state.stats)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *made)


def test_a_run_of_moving_digits_learns_resumes_and_shows_clips(tmp_path):
    experiment = config.Experiment(
        system=TINY,
        data=config.Data(source="moving_digits:1x16", resize=True),
        batch=4,
        steps=2,
        mesh=Mesh(data=1),
        log=config.Log(every=1, samples=2, grid=2),
    )
    whole = train(experiment, tmp_path / "whole")
    train(dataclasses.replace(experiment, steps=1), tmp_path / "parts")
    parts = train(experiment, tmp_path / "parts")
    jax.tree.map(np.testing.assert_array_equal, whole.state.params, parts.state.params)
    clips = whole.use("generate", n=3)["clip"]
    assert (clips.dtype, clips.shape) == (np.uint8, (3, 7, 8, 8, 1))
    assert whole.use("judge", n=2)["frames"].shape == (2, 7)


def test_data_without_labels_are_refused():
    from jaxgan.data import match

    system = dataclasses.replace(TINY, classes=10, labelled=True)
    found = match(system.data(), data.open_source("moving_digits:1x16"))
    assert found[0].columns == {"clip": "clip", "label": "label"}
    with pytest.raises(UserError, match="has no labels"):
        match(system.data(), data.open_source("moving_digits:2x16"))
