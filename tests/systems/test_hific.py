import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.metrics.lpips import lpips
from jaxgan.parallel.mesh import batch_sharding, make_mesh
from jaxgan.parallel.sharding import state_shardings
from jaxgan.pretrained.perceptual import AlexLPIPS, alex_variables
from jaxgan.system import data_fields, stages_of
from jaxgan.systems import hific
from jaxgan.systems.hific import CODERS, HiFiC, level_of, sixteenths
from jaxgan.training.apply import apply
from jaxgan.training.step import init_around, make_step, with_pretrained
from jaxgan.view import View
from tests.reference import hific as reference
from tests.reference.port import images_from_torch, images_to_torch, randomise, to_flax

TINY = HiFiC(
    target=1.0,
    shape=(32, 32, 3),
    latents=4,
    width=2,
    halvings=3,
    blocks=1,
    hyper_width=3,
    discriminator_width=2,
    first_steps=10,
    warm_steps=(2, 2),
)


def begun(system, seed=0):
    """A State of random weights; `init` takes long to compile."""
    rng = np.random.default_rng(seed)
    params, stats = jax.eval_shape(system.init, jax.random.key(0))
    params = jax.tree.map(
        lambda x: (rng.normal(size=x.shape) / max(np.prod(x.shape[:-1]), 1) ** 0.5).astype(
            np.float32
        ),
        params,
    )
    stats = jax.tree.map(lambda x: np.ones(x.shape, np.float32), stats)
    return with_pretrained(system, init_around(system, params, stats, {}))


@pytest.fixture(scope="module")
def state():
    return begun(TINY)


def view_of(state, *, train=False, step=0):
    loaded = TINY.pretrained()
    pretrained = {name: (each.module, each.load()) for name, each in loaded.items()}
    return View(
        TINY.networks(),
        state.params,
        state.stats,
        train=train,
        pretrained=pretrained,
        step=jnp.int32(step),
    )


@pytest.mark.parametrize(
    ("ours", "theirs", "shape"),
    [
        (hific.Encoder(4, 3, 2), reference.Encoder(4, 3, 2), (16, 24, 3)),
        (hific.Generator(3, 2, 2), reference.Generator(4, 3, 2, 2), (4, 6, 4)),
        (hific.Analysis(5), reference.Analysis(4, 5), (8, 12, 4)),
        (hific.Synthesis(4, 5), reference.Synthesis(4, 5), (2, 3, 5)),
    ],
    ids=["encoder", "generator", "analysis", "synthesis"],
)
def test_networks_equal_pytorchs(rng, ours, theirs, shape):
    theirs = randomise(theirs)
    x = rng.normal(size=(2, *shape)).astype(np.float32)
    got = ours.apply(to_flax(theirs), x, train=False)
    want = images_from_torch(theirs(images_to_torch(x)))
    np.testing.assert_allclose(got, want, atol=2e-5 * np.abs(want).max())


def test_the_discriminator_equals_pytorchs_up_to_its_spectral_norms(rng):
    theirs = randomise(reference.Discriminator(4, 3, 2))
    ours, variables = hific.Discriminator(3, 2), to_flax(theirs)
    x = rng.normal(size=(2, 32, 32, 3)).astype(np.float32)
    y = rng.normal(size=(2, 8, 8, 4)).astype(np.float32)
    spectral = jax.eval_shape(lambda: ours.init(jax.random.key(0), x, y, train=True))["spectral"]
    # Vectors of which every estimate is 1: kernels stay what they are.
    spectral = jax.tree.map(np.zeros_like, spectral)
    for name, layer in spectral.items():
        kernel = np.moveaxis(variables["params"][name]["kernel"], -1, 0)
        matrix = kernel.reshape(len(kernel), -1)
        state = layer["SpectralNorm_0"]
        state["u"] = np.ones(len(matrix), np.float32)
        product = np.ones(len(matrix)) @ matrix
        state["v"] = (product / (product @ product)).astype(np.float32)
    got = ours.apply({**variables, "spectral": spectral}, x, y, train=False)
    want = theirs(images_to_torch(x), images_to_torch(y)).detach().numpy()
    np.testing.assert_allclose(got, want, atol=1e-4 * np.abs(want).max())


def test_the_perceptual_distance_is_lpips(rng):
    a, b = rng.uniform(-1, 1, (2, 3, 32, 40, 3)).astype(np.float32)
    known = lpips("alex")
    got = AlexLPIPS().apply(alex_variables(), a, b, train=False)
    np.testing.assert_allclose(got, known.apply(known.params, a, b), rtol=1e-6)


def test_the_rates_weight_changes_at_the_target_and_is_halved_while_it_warms():
    system = dataclasses.replace(TINY, target=0.14)
    for rate, step, weight, target in (
        (0.139, 5, 2**-4, 0.14),
        (0.141, 5, 2.0, 0.14),
        (0.199, 1, 2**-5, 0.2),
        (0.201, 1, 1.0, 0.2),
    ):
        found = system.rate_weight(jnp.float32(rate), step, 2)
        np.testing.assert_allclose(found, (weight, target), rtol=1e-6)
    for target, weight in ((0.3, 1), (0.45, 0.5)):
        system = dataclasses.replace(TINY, target=target)
        assert system.rate_weight(jnp.float32(9), 5, 2)[0] == weight


def test_scales_and_means_are_brought_to_levels():
    scale = 0.11 * (256 / 0.11) ** (np.arange(64) / 63)
    np.testing.assert_array_equal(level_of(jnp.float32(scale)), np.arange(64))
    np.testing.assert_array_equal(level_of(jnp.array([-1.0, 0.0, 1e9])), [0, 0, 63])
    np.testing.assert_array_equal(sixteenths(jnp.array([-0.5, 0.07, 3.0])), [-8, 1, 48])


def test_losses_by_hand(rng, state):
    batch = {"image": rng.uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)}
    view, key = view_of(state, train=True, step=12), jax.random.key(3)
    y, noisy, rate = TINY.coded(view, batch["image"], key)
    made = view("generator", y) * 2 - 1
    squared = np.mean((np.asarray(made) - batch["image"]) ** 2) * 127.5**2
    distance = view("lpips", made, batch["image"]).mean()
    weight = 0.5 if rate.mean() > TINY.target else 2**-4  # that of .45, the nearest
    want = weight * noisy.mean() + 0.075 / 32 * squared + distance
    loss, metrics = TINY.compressor_loss(view_of(state, train=True, step=5), batch, key, first=True)
    np.testing.assert_allclose(loss, want, rtol=1e-4)
    fake = view("discriminator", made, y)
    loss, _ = TINY.compressor_loss(view, batch, key, first=False)
    verdict = np.mean(np.log1p(np.exp(-np.asarray(fake, np.float64))))
    np.testing.assert_allclose(loss, want + 0.15 * verdict, rtol=1e-4)
    real = view("discriminator", batch["image"], y)
    loss, _ = TINY.discriminator_loss(view, batch, key)
    want = np.mean(np.log1p(np.exp(-np.asarray(real, np.float64)))) + np.mean(
        np.log1p(np.exp(np.asarray(fake, np.float64)))
    )
    np.testing.assert_allclose(loss, want, rtol=1e-4)
    assert metrics["bpp"] == rate.mean()


def test_every_network_learns_and_the_hyperprior_by_the_rate_alone(rng, state):
    batch = {"image": rng.uniform(-1, 1, (1, 32, 32, 3)).astype(np.float32)}

    def loss(params):
        view = view_of(dataclasses.replace(state, params=params), train=True, step=5)
        return TINY.compressor_loss(view, batch, jax.random.key(0), first=True)[0]

    gradient = jax.jit(jax.grad(loss))(state.params)
    for name in CODERS:
        assert any(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient[name])), name
    assert not any(np.abs(leaf).any() for leaf in jax.tree.leaves(gradient["discriminator"]))


def test_a_step_of_the_second_stage_moves_all(rng, state):
    stage = stages_of(TINY)[1]
    batch = {
        name: rng.uniform(-1, 1, (stage.draws, 1, *field.shape)).astype(np.float32)
        for name, field in data_fields(TINY).items()
    }
    before = jax.device_get(state)
    given = jax.tree.map(jnp.array, before)
    after, metrics = make_step(TINY, stage)(given, batch)
    assert all(np.isfinite(leaf) for leaf in jax.tree.leaves(metrics))
    for name in (*CODERS, "discriminator"):
        old, new = before.params[name], after.params[name]
        assert any(
            (a != b).any() for a, b in zip(*map(jax.tree.leaves, (old, new)), strict=True)
        ), name


@pytest.mark.usefixtures("all_in_shares")
def test_eight_devices_equal_one():
    images = np.random.default_rng(0).uniform(-1, 1, (8, 32, 32, 3)).astype(np.float32)
    before, made = jax.device_get(begun(TINY)), []
    for mesh in (make_mesh(1), make_mesh(8)):
        state = jax.tree.map(jnp.array, before)
        state = jax.device_put(state, state_shardings(mesh, state))
        batch = jax.device_put(images, batch_sharding(mesh, leading=0))
        state, metrics = make_step(TINY, mesh=mesh)(state, {"image": batch})
        made.append(jax.tree.map(np.asarray, (metrics, state.opt["first"])))
    # Adam's moments, for its first steps are signs of gradients, also of those that are rounding.
    for a, b in zip(*map(jax.tree.leaves, made), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * max(np.max(np.abs(a)), 1e-3))


def test_reconstructing_is_encoding_and_decoding(rng, state):
    x = rng.uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    coded = apply(TINY, state, "encode", {"image": x}).made
    levels = apply(TINY, state, "latent_model", {"side": coded["side"]}).made
    assert coded["latent"].shape == levels["scale"].shape == (2, 4, 4, 4)
    mean = levels["mean"] / 16
    latent = np.round(coded["latent"] - mean) + mean
    made = apply(TINY, state, "decode", {"latent": latent.astype(np.float32)}).made["image"]
    whole = apply(TINY, state, "reconstruct", {"image": x}).made["image"]
    np.testing.assert_allclose(whole, made, atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "words"),
    [((48, 32, 3), "multiples of 32"), ((32, 32, 1), "3 channels"), ((32, 32), "3 channels")],
)
def test_shapes_that_cannot_be_coded_are_refused(shape, words):
    with pytest.raises(UserError, match=words):
        dataclasses.replace(TINY, shape=shape)
