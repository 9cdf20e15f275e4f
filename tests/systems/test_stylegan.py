import dataclasses
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from jaxgan import Data, Experiment, Log, Mesh, UserError, init, make_step
from jaxgan.describe import parameter_counts
from jaxgan.latent.mixing import mix
from jaxgan.latent.walk import walk
from jaxgan.nn.resample import upsample
from jaxgan.parallel.mesh import batch_sharding, make_mesh
from jaxgan.run import train
from jaxgan.system import stages_of
from jaxgan.systems.stylegan import StyleGAN
from jaxgan.training.apply import apply
from jaxgan.view import View

TINY = StyleGAN(
    shape=(16, 16, 1),
    latent=6,
    width=64,
    max_channels=8,
    mapping_layers=2,
    batches=(16, 16, 8),
    rates=(1e-3, 1e-3, 2e-3),
    fade_kimg=0.032,
    train_kimg=0.032,
    truncated_layers=4,
    ema_kimg=0.02,
)


def away(state):
    """Noise, biases, and the mean of styles away from zero, where mistakes hide."""
    rng = np.random.default_rng(0)

    def move(path, x):
        return x + 0.3 * rng.normal(size=x.shape).astype(np.float32) if x.ndim else x

    return jax.tree_util.tree_map_with_path(move, state)


@pytest.fixture(scope="module")
def state():
    return away(init(TINY))


def taken(z, psi=1.0):
    """What "generate" and "style" take."""
    return {"z": z, "psi": np.full(len(z), psi, np.float32)}


def view_of(state, *, resolution=16, step=100, train=False):
    return View(
        TINY.networks(), state.params, state.stats, train=train, resolution=resolution, step=step
    )


@pytest.mark.parametrize(
    ("side", "generator", "discriminator"),
    [(256, 26_086_229, 23_052_353), (128, 25_843_858, 22_941_313), (64, 25_137_935, 22_498_049)],
)
def test_parameter_counts_at_other_sizes(side, generator, discriminator):
    counts = parameter_counts(StyleGAN(shape=(side, side, 3)))
    assert counts == {"generator": generator, "discriminator": discriminator}


def test_it_starts_at_8_pixels_and_averages_by_images():
    system = StyleGAN()
    assert [level.resolution for level in system.levels()][:2] == [8, 16]
    assert (system.levels()[0].fade, system.levels()[0].begin) == (0, 0)
    decay = system.ema()["generator"]
    for level in system.levels():
        expected = 0.5 ** (level.batch / 10_000)
        np.testing.assert_allclose(decay(jnp.int32(level.begin)), expected, rtol=1e-6)
    constant = dataclasses.replace(system, ema_decay=0.5)
    assert constant.ema() == {"generator": 0.5}


def test_a_fade_begins_with_the_lower_network_exactly(state, rng):
    z = rng.normal(size=(2, 6)).astype(np.float32)
    low = TINY.make(view_of(state, resolution=8), taken(z))
    begin, length = TINY.levels()[1].begin, TINY.levels()[1].fade
    fading = TINY.make(view_of(state, step=begin), taken(z))
    np.testing.assert_allclose(fading, upsample(low), atol=1e-6)
    full = TINY.make(view_of(state, step=begin + length), taken(z))
    np.testing.assert_allclose(full, TINY.make(view_of(state), taken(z)), atol=1e-6)
    assert abs(full - fading).max() > 0.1


def test_a_style_sets_mean_and_deviation_of_its_layers_maps(state, rng):
    """What leaves a layer has them, for every channel (adaptive instance norm)."""
    styles = rng.normal(size=(3, 6, 6)).astype(np.float32)
    variables = {"params": state.params["generator"], **state.stats["generator"]}
    _, kept = TINY.networks()["generator"].apply(
        variables,
        styles,
        method="synthesize",
        train=False,
        mutable=["intermediates"],
        capture_intermediates=lambda module, _: "style" in (module.name or ""),
    )
    maps = kept["intermediates"]["synthesis"]
    for layer in range(6):
        (y,) = maps[f"style{layer}"]["__call__"]
        params = state.params["generator"]["synthesis"][f"style{layer}"]["style"]
        wanted = styles[:, layer] @ params["kernel"] / 6**0.5 + params["bias"]
        scale, shift = np.split(np.asarray(wanted), 2, -1)
        np.testing.assert_allclose(y.mean((1, 2)), shift, atol=1e-4)
        np.testing.assert_allclose(y.std((1, 2)), abs(scale + 1), atol=1e-3)


def test_psi_0_is_one_image_and_psi_1_changes_nothing(state, rng):
    view = view_of(state)
    z = rng.normal(size=(4, 6)).astype(np.float32)
    plain = jnp.repeat(view("generator", z, method="styles")[:, None], 6, 1)
    np.testing.assert_array_equal(TINY.styles(view, taken(z)), plain)
    everywhere = dataclasses.replace(TINY, truncated_layers=6)
    images = everywhere.synthesize(view, everywhere.styles(view, taken(z, 0.0)))
    np.testing.assert_allclose(images, jnp.broadcast_to(images[:1], images.shape), atol=1e-5)
    some = TINY.styles(view, taken(z, 0.5))
    np.testing.assert_array_equal(some[:, 4:], plain[:, 4:])
    assert (some[:, :4] != plain[:, :4]).all()
    # Each image has its own.
    each = TINY.styles(view, {"z": z, "psi": np.array([1, 0.5, 1, 0.5], np.float32)})
    np.testing.assert_array_equal(each[::2], plain[::2])
    np.testing.assert_array_equal(each[1::2], some[1::2])


@pytest.mark.parametrize(("step", "side", "layers"), [(0, 8, 4), (99, 16, 6)])
def test_a_sample_is_the_image_of_its_styles_at_every_resolution(state, step, side, layers):
    at = dataclasses.replace(state, step=jnp.int32(step))
    made, given, _ = apply(TINY, at, "generate", {"psi": np.float32([0.7])}, numbers=3, chunk=4)
    assert made["image"].shape == (3, side, side, 1)
    styles = apply(TINY, at, "style", given, chunk=4).made["style"]
    assert styles.shape == (3, layers, 6)
    images = apply(TINY, at, "synthesize", {"style": styles}, chunk=4).made["image"]
    np.testing.assert_allclose(images, made["image"], atol=1e-5)


def test_layers_after_the_cutoff_do_not_reach_those_before(state, rng):
    """With equal styles from a cutoff on, nothing differs but what the first ones make."""
    view = view_of(state)
    styles = jnp.asarray(rng.normal(size=(2, 6, 6)), jnp.float32)
    other = styles.at[:, 4:].add(1)
    low = view_of(state, resolution=8)  # has four layers
    images = [TINY.synthesize(low, x) for x in (styles, other)]
    np.testing.assert_array_equal(*images)
    assert (TINY.synthesize(view, styles) != TINY.synthesize(view, other)).any()


def test_noise_of_strength_0_changes_nothing(state, rng):
    synthesis = state.params["generator"]["synthesis"]
    noisy = {k: v for k, v in synthesis.items() if k.startswith("noise")}
    still = {**synthesis, **jax.tree.map(jnp.zeros_like, noisy)}
    params = {**state.params, "generator": {**state.params["generator"], "synthesis": still}}
    styles = rng.normal(size=(2, 6, 6)).astype(np.float32)
    noise = tuple(rng.normal(size=(2, n, n, 1)).astype(np.float32) for n in (4, 4, 8, 8, 16, 16))
    for at, same in ((state.replace(params=params), True), (state, False)):
        view = view_of(at)
        images = [TINY.synthesize(view, styles, given) for given in (None, noise)]
        assert np.array_equal(*images) == same


def test_r1_is_half_gamma_times_the_squared_slope(state, rng):
    view = view_of(state, train=True)
    x = rng.uniform(-1, 1, (4, 16, 16, 1)).astype(np.float32)
    loss, metrics = jax.jit(
        lambda x: TINY.discriminator_loss(view, {"image": x}, jax.random.key(0))
    )(x)
    slopes = jax.jit(jax.grad(lambda x: view.frozen("discriminator", x).sum()))(x)
    expected = np.square(slopes).sum((1, 2, 3)).mean() / 2
    np.testing.assert_allclose(metrics["penalty"], expected, rtol=1e-4)
    assert loss > 10 * metrics["penalty"]


@pytest.mark.usefixtures("all_in_shares")
def test_eight_devices_equal_one_at_a_fade(rng):
    """From a constant that is none: at the start there is no deviation to divide by, and the
    gradient of the first bias is rounding alone, of which Adam makes whole steps.
    """
    constant = rng.normal(size=(1, 4, 4, 8)).astype(np.float32)
    system = dataclasses.replace(TINY, start=4, shape=(8, 8, 1))
    images = rng.uniform(-1, 1, (16, 8, 8, 1)).astype(np.float32)
    states = []
    for mesh in (make_mesh(1), make_mesh(8)):
        state = dataclasses.replace(init(system, mesh=mesh), step=jnp.int32(3))
        placed = jax.device_put(
            constant, state.params["generator"]["synthesis"]["constant"].sharding
        )
        state.params["generator"]["synthesis"]["constant"] = placed
        step = make_step(system, stages_of(system)[1], mesh=mesh)
        batch = {"image": jax.device_put(images, batch_sharding(mesh, leading=0))}
        for _ in range(2):
            state, _ = step(state, batch)
        states.append(jax.device_get(state))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *states)
    styles = states[0].stats["generator"]["average"]["mapping"]["style"]
    assert abs(styles).max() > 0  # the running mean moved


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    system = dataclasses.replace(TINY, shape=(8, 8, 1), batches=(8, 8), rates=(1e-3,) * 2)
    experiment = Experiment(
        system=system,
        data=Data(source="digits"),
        batch=8,
        steps=3,
        mesh=Mesh(data=1),
        log=Log(grid=4),
    )
    folder = tmp_path_factory.mktemp("runs") / "run"
    return train(experiment, folder, console=Console(file=io.StringIO()))


def test_psi_of_a_run(run):
    plain = run.sample(3, seed=1)
    np.testing.assert_array_equal(run.sample(3, seed=1, psi=1.0), plain)
    assert (run.sample(3, seed=1, psi=0.5) != plain).any()
    with pytest.raises(UserError, match="psi: -1 is too far: it goes from 0 to 2"):
        run.sample(3, psi=-1.0)
    with pytest.raises(UserError, match="psi: 3 is too far"):
        mix(run, psi=3.0)
    with pytest.raises(UserError, match="other is -1"):
        mix(run, other=-1)


def test_a_mixing_table_has_the_sources_on_its_edges(run):
    assert {"style", "synthesize"} < set(run.system.uses())
    table = mix(run, 3, seed=4, other=5, rows=2)
    assert table.shape == (7, 4, 8, 8, 1)
    np.testing.assert_array_equal(table[0, 1:], run.sample(3, seed=5))
    for row in range(1, 7):
        np.testing.assert_array_equal(table[row, 0], run.sample(2, seed=4)[(row - 1) % 2])
    assert (table[0, 0] == 255).all()


def test_walks_come_back(run):
    frames = walk(run, 8, num=2, stops=4, seed=3)
    assert frames.shape == (8, 2, 8, 8, 1)
    samples = run.sample(8, seed=3).reshape(4, 2, 8, 8, 1)
    np.testing.assert_allclose(frames[::2].astype(int), samples.astype(int), atol=1)
    with pytest.raises(UserError, match="give at least 4"):
        walk(run, 3)
