import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

from jaxgan import Mesh, apply, config, data, init, make_step
from jaxgan.errors import UserError
from jaxgan.metrics.evaluate import evaluate
from jaxgan.metrics.features import pixels
from jaxgan.nn.warp import warp
from jaxgan.parallel.mesh import batch_sharding, make_mesh
from jaxgan.run import train
from jaxgan.systems.dual_motion import (
    Ahead,
    DualMotionGAN,
    Encoder,
    Estimator,
    Fuse,
    Generator,
    divergence,
)
from jaxgan.view import View
from tests.reference.port import images_from_torch, images_to_torch, to_flax

TINY = DualMotionGAN(
    shape=(4, 16, 16, 1),
    observed=2,
    width=2,
    halvings=1,
    latent=2,
    estimator_width=8,
    discriminator_width=2,
    discriminator_halvings=1,
)


def down(inputs, width, halvings):
    widths = [inputs, *(width << layer for layer in range(halvings))]
    return {
        f"conv{n}": nn.Conv2d(a, b, 4, 2, 1)
        for n, (a, b) in enumerate(itertools.pairwise(widths), 1)
    }


def up(features):
    return {
        f"up{n}": nn.ConvTranspose2d(a, b, 4, 2, 1)
        for n, (a, b) in enumerate(itertools.pairwise(features), 1)
    }


class TorchLayers(nn.Module):
    """Layers by name."""

    def __init__(self, layers):
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)

    def __getitem__(self, name):
        return self.get_submodule(name)

    def named(self, kind):
        return [layer for name, layer in self.named_children() if name.startswith(kind)]


def torch_encoder(width, layers=1):
    wide = width << 3
    cells = {
        f"lstm{n}": TorchLayers({"gates": nn.Conv2d(2 * wide, 4 * wide, 3, padding=1)})
        for n in range(1, layers + 1)
    }
    return TorchLayers(down(3, width, 4) | cells | {"latent": nn.Conv2d(wide, 4 * width, 1)})


def encoded(network, clip):
    features = []
    for frame in clip.unbind(1):
        for conv in network.named("conv"):
            frame = nn.functional.leaky_relu(conv(frame), 0.2)
        features.append(frame)
    for cell in network.named("lstm"):
        h = memory = torch.zeros_like(features[0])
        states = []
        for x in features:
            i, f, o, g = cell["gates"](torch.cat([x, h], 1)).chunk(4, 1)
            memory = f.sigmoid() * memory + i.sigmoid() * g.tanh()
            h = o.sigmoid() * memory.tanh()
            states.append(h)
        features = states
    return network["latent"](features[-1]).chunk(2, 1)


def torch_generator(width, channels):
    first = {"first": nn.Conv2d(2 * width, 8 * width, 3, padding=1)}
    return TorchLayers(first | up([8 * width, 4 * width, 2 * width, width, channels]))


def generated(network, z):
    h = network["first"](z)
    for layer in network.named("up"):
        h = layer(nn.functional.instance_norm(h).relu())
    return h


def counts(system):
    params, _ = jax.eval_shape(system.init, jax.random.key(0))
    return {name: sum(x.size for x in jax.tree.leaves(tree)) for name, tree in params.items()}


@pytest.fixture(scope="module")
def state():
    return init(TINY)


@pytest.fixture(scope="module")
def clips():
    return np.random.default_rng(0).uniform(-1, 1, (8, *TINY.shape)).astype(np.float32)


def test_parameter_counts_are_those_of_the_table():
    found = counts(DualMotionGAN())
    assert found == {
        "encoder": 21_764_288,
        "frame_generator": 3_346_371,
        "flow_generator": 3_345_346,
        "fuse": 21,
        "estimator": 1_319_554,
        "frame_discriminator": 2_767_809,
        "flow_discriminator": 2_763_713,
    }
    three = counts(DualMotionGAN(lstm_layers=3))
    assert three["encoder"] == found["encoder"] + 2 * (9 * 1024 * 2048 + 2048)


@torch.no_grad()
@pytest.mark.parametrize("layers", [1, 2])
def test_encoder_matches_torch(rng, layers):
    torch.manual_seed(0)
    network = torch_encoder(4, layers)
    clip = rng.uniform(-1, 1, (2, 3, 32, 48, 3)).astype(np.float32)
    ours = Encoder(4, 4, 8, layers).apply(to_flax(network), clip, train=True)
    theirs = encoded(network, torch.from_numpy(np.moveaxis(clip, -1, 2).copy()))
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == (2, 2, 3, 8)
        np.testing.assert_allclose(a, images_from_torch(b), atol=1e-5)


@torch.no_grad()
def test_generators_and_estimator_match_torch(rng):
    torch.manual_seed(0)
    z = rng.normal(size=(2, 2, 3, 8)).astype(np.float32)
    for channels, flow in ((3, False), (2, True)):
        network = torch_generator(4, channels)
        ours = Generator(4, 4, channels, flow).apply(to_flax(network), z, train=True)
        theirs = generated(network, images_to_torch(z))
        theirs = theirs if flow else theirs.tanh()
        assert ours.shape == (2, 32, 48, channels)
        np.testing.assert_allclose(ours, images_from_torch(theirs), atol=1e-4)
    network = TorchLayers(down(6, 4, 3) | up([16, 8, 4, 2]))
    frames = rng.uniform(-1, 1, (2, 2, 16, 24, 3)).astype(np.float32)
    ours = Estimator(4).apply(to_flax(network), *frames, train=True)
    h = torch.cat([images_to_torch(frame) for frame in frames], 1)
    for conv in network.named("conv"):
        h = nn.functional.leaky_relu(conv(h), 0.2)
    first, *rest = network.named("up")
    h = first(h)
    for layer in rest:
        h = layer(h.relu())
    np.testing.assert_allclose(ours, images_from_torch(h), atol=1e-5)


def test_frames_are_fused_to_their_mean_at_first(rng):
    a, b = rng.uniform(-1, 1, (2, 1, 4, 4, 3)).astype(np.float32)
    made, _ = Fuse().init_with_output(jax.random.key(0), a, b, train=True)
    np.testing.assert_allclose(made, (a + b) / 2, atol=1e-6)


def test_the_divergence_is_that_of_normal_distributions(rng):
    mean, log_variance = rng.normal(size=(2, 3, 2, 2, 4))
    np.testing.assert_allclose(divergence(0 * mean, 0 * mean), 0)
    theirs = torch.distributions.kl_divergence(
        torch.distributions.Normal(torch.tensor(mean), torch.tensor(np.exp(log_variance / 2))),
        torch.distributions.Normal(0.0, 1.0),
    )
    want = theirs.sum((1, 2, 3)).numpy()
    np.testing.assert_allclose(divergence(mean, log_variance), want, rtol=1e-5)


def gradients(system, state, clips):
    """{network: gradient} of the generators' loss, by how much of it passes each discriminator."""

    class Blocked(View):
        def __call__(self, network, *inputs, **options):
            if network in passes:
                share = passes[network]
                inputs = tuple(share * x + (1 - share) * jax.lax.stop_gradient(x) for x in inputs)
            return super().__call__(network, *inputs, **options)

    @jax.jit
    def gradient(frames, flows):
        nonlocal passes
        passes = {"frame_discriminator": frames, "flow_discriminator": flows}

        def loss(params):
            view = Blocked(system.networks(), params, state.stats, train=True)
            return system.generator_loss(view, {"clip": jnp.asarray(clips)}, jax.random.key(0))[0]

        return jax.grad(loss)(state.params)

    passes = {}
    return gradient


def test_each_generator_learns_from_both_discriminators(state, clips):
    alone = dataclasses.replace(TINY, distance=0.0, flow_distance=0.0, divergence=0.0)
    gradient = gradients(alone, state, clips)
    whole, frames, flows, none = (
        gradient(*map(float, passes)) for passes in ((1, 1), (1, 0), (0, 1), (0, 0))
    )
    for network in ("frame_generator", "flow_generator"):
        sizes = [
            sum(float(jnp.abs(leaf).sum()) for leaf in jax.tree.leaves(each[network]))
            for each in (frames, flows, none)
        ]
        # G_I reaches the flows' discriminator through the estimator, G_F the frames' through warp.
        assert (network, min(sizes[:2]) > 1e-6, sizes[2]) == (network, True, 0)
        jax.tree.map(
            lambda all_, a, b: np.testing.assert_allclose(all_, a + b, rtol=1e-3, atol=1e-6),
            whole[network],
            frames[network],
            flows[network],
        )


def test_all_terms_are_in_the_loss_and_all_networks_move(state, clips):
    step, other = make_step(TINY), init(TINY)
    before = jax.tree.map(np.array, other.params)
    after, metrics = step(other, {"clip": clips})
    moved = jax.tree.map(lambda a, b: float(abs(a - b).max()) > 0, before, after.params)
    assert {name: any(jax.tree.leaves(each)) for name, each in moved.items()} == dict.fromkeys(
        TINY.networks(), True
    )
    of = metrics["generator"]
    want = 100 * (of["painted"] + of["warped"] + of["fused"]) + 0.01 * of["divergence"]
    want += of["flows"] + of["of_frames"] + of["of_flows"]
    np.testing.assert_allclose(of["loss"], want, rtol=1e-5)
    estimator = metrics["estimator"]
    want = estimator["warped"] + 0.01 * estimator["rough"]
    np.testing.assert_allclose(estimator["loss"], want, rtol=1e-5)


def test_windows_are_of_one_clip_and_one_after_the_other(clips):
    view = View({}, {}, {}, train=True)
    times = np.broadcast_to(np.arange(4.0)[:, None, None, None], clips.shape[1:])
    marked = jnp.asarray(times + 10 * np.arange(8)[:, None, None, None, None])
    seen, target = TINY.window(view, marked, jax.random.key(0))
    first, second, last = (np.asarray(x)[:, 0, 0, 0] for x in (seen[:, 0], seen[:, 1], target))
    np.testing.assert_array_equal(first // 10, np.arange(8))
    np.testing.assert_array_equal(second, first + 1)
    np.testing.assert_array_equal(last, first + 2)
    assert set(first % 10) == {0, 1}


def test_predictions_are_fed_back(state, clips):
    ahead = Ahead(frames=3)
    made = apply(TINY, state, "predict", {"clip": clips[:2]}, options=ahead).made
    assert made["clip"].shape == (2, 3, 16, 16, 1)
    assert made["flow"].shape == (2, 3, 16, 16, 2)
    seen = clips[:2, :2]
    for frame in range(3):
        one = apply(TINY, state, "extend", {"seen": seen}, options=Ahead(frames=1)).made
        np.testing.assert_allclose(one["clip"][:, 0], made["clip"][:, frame], atol=1e-5)
        np.testing.assert_allclose(one["flow"][:, 0], made["flow"][:, frame], atol=1e-5)
        seen = np.concatenate([seen[:, 1:], one["clip"]], 1)
    other = clips[:2].copy()
    other[:, 2:] = 0
    again = apply(TINY, state, "predict", {"clip": other}, options=ahead).made
    np.testing.assert_array_equal(again["clip"], made["clip"])  # what comes is not seen
    estimated = apply(TINY, state, "estimate", {"clip": clips[:2]}).made["flow"]
    assert estimated.shape == (2, 3, 16, 16, 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"observed": 4}, "of more frames than the 4 that are observed"),
        ({"shape": (8, 64, 64)}, "give frames x height x width x channels"),
        ({"shape": (8, 64, 60, 3)}, "height and width must be multiples of 8"),
        ({"shape": (8, 16, 16, 3), "discriminator_halvings": 3}, "judge 24 pixels a side and more"),
        ({"halvings": 0}, "halves frames once at least"),
    ],
)
def test_what_cannot_be_is_refused(settings, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(TINY, **settings)


@pytest.mark.usefixtures("all_in_shares")
def test_eight_devices_equal_one(clips):
    made = []
    for mesh in (make_mesh(1), make_mesh(8)):
        state, step = init(TINY, mesh=mesh), make_step(TINY, mesh=mesh)
        batch = {"clip": jax.device_put(clips, batch_sharding(mesh, leading=0))}
        state, metrics = step(state, batch)
        made.append(jax.tree.map(np.asarray, (metrics, state.opt)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), *made)


def test_a_run_resumes_and_its_predictions_are_scored(tmp_path):
    experiment = config.Experiment(
        system=TINY,
        data=config.Data(source="moving_digits:1x16"),
        batch=4,
        steps=2,
        mesh=Mesh(data=1),
        log=config.Log(every=1, samples=2, grid=2),
    )
    whole = train(experiment, tmp_path / "whole")
    train(dataclasses.replace(experiment, steps=1), tmp_path / "parts")
    parts = train(experiment, tmp_path / "parts")
    jax.tree.map(np.testing.assert_array_equal, whole.state.params, parts.state.params)
    held_out = data.open_source("moving_digits:1x16:test:flow")
    made, true = whole.made_of(held_out, 5, kind="clip")
    found = {r.metric: r for r in evaluate(made, true, "mse,epe", extractor=pixels(made.shape))}
    assert set(found) == {
        *("mse", "mse_copy", "mse_velocity", "next_mse", "next_mse_copy", "next_mse_velocity"),
        *("epe", "epe_still"),
    }
    clips = np.concatenate([batch["clip"] for batch in true.batches(2)])
    seen = np.concatenate([batch["seen"] for batch in true.batches(2)])
    assert clips.shape == seen.shape == (5, 2, 16, 16, 1)
    copied = np.mean((clips / 255 - seen[:, -1:] / 255) ** 2)
    assert found["mse_copy"].value == pytest.approx(copied)
    assert 0.4 < found["epe_still"].value < 1.6  # 16 / 20 pixels a frame, in whole ones
    assert found["mse"].images == 5
    with pytest.raises(UserError, match="epe needs flows that a run predicts"):
        evaluate(
            *whole.made_of(data.open_source("moving_digits:1x16:test"), 5, kind="clip"),
            "epe",
            extractor=pixels(made.shape),
        )


def test_the_estimator_finds_how_a_square_moves():
    """Dual closure: trained by warping alone, its flows have the square's velocity."""
    system = dataclasses.replace(TINY, estimator_width=8, learning_rate=3e-3)
    (player,) = (p for p in system.stages()[0].players if p.name == "estimator")
    rng, side = np.random.default_rng(0), 16
    rows, columns = np.mgrid[:side, :side]

    def pairs(count):
        corner, step = rng.integers(3, 8, (2, count)), rng.integers(-1, 2, (2, count))

        def square(top, left):
            # Soft edges: warping has no gradient where nothing changes.
            y, x = rows - top[:, None, None] - 2.5, columns - left[:, None, None] - 2.5
            return 2 / (1 + np.exp(2 * (np.maximum(abs(y), abs(x)) - 3))) - 1

        frames = [square(*at)[..., None] for at in (corner, corner + step)]
        return *(frame.astype(np.float32) for frame in frames), -step[::-1].T

    network = system.networks()["estimator"]
    params = network.init(jax.random.key(0), *pairs(1)[:2], train=True)["params"]
    optimizer = player.optimizer
    opt = optimizer.init(params)

    @jax.jit
    def update(params, opt, last, target):
        def loss(params):
            view = View({"estimator": network}, {"estimator": params}, {}, train=True)
            batch = {"last": last, "target": target}
            return system.estimator_loss(view, batch, jax.random.key(0))[0]

        change, opt = optimizer.update(jax.grad(loss)(params), opt)
        return jax.tree.map(jnp.add, params, change), opt

    for _ in range(300):
        last, target, _ = pairs(16)
        params, opt = update(params, opt, last, target)
    last, target, true = pairs(64)
    flow = network.apply({"params": params}, last, target, train=False)
    moving = np.abs(last - target)[..., 0] > 0.2
    errors = np.linalg.norm(flow - true[:, None, None], axis=-1)
    assert errors[moving].mean() < 0.5
    assert jnp.abs(warp(last, flow) - target).mean() < 0.5 * np.abs(last - target).mean()
