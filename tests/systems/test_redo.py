import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from jaxgan import make_step
from jaxgan.errors import UserError
from jaxgan.parallel.mesh import batch_sharding, make_mesh
from jaxgan.parallel.sharding import state_shardings
from jaxgan.system import stages_of
from jaxgan.systems import redo
from jaxgan.systems.redo import ReDO, Redrawn, Segmented, redrawn
from jaxgan.training.apply import apply
from jaxgan.training.step import init_around
from jaxgan.view import View
from tests.reference import redo as reference
from tests.reference.port import images_from_torch, images_to_torch, randomise, to_flax

TINY = ReDO(
    shape=(32, 32, 3),
    latent=3,
    mask_width=4,
    mask_blocks=1,
    generator_width=2,
    discriminator_width=2,
    recogniser_width=2,
)
ATTENDS = dataclasses.replace(
    TINY, generator_width=4, discriminator_width=8, attention=True, ema_decay=0.5
)


def begun(system):
    """A State of random weights and their singular vectors; `init` takes long to compile."""
    rng = np.random.default_rng(0)
    params, stats = jax.eval_shape(system.init, jax.random.key(0))
    params = jax.tree.map(
        lambda x: (rng.normal(size=x.shape) / np.prod(x.shape[:-1]) ** 0.5).astype(np.float32),
        params,
    )
    for name, collections in stats.items():
        _give_vectors(collections.get("spectral", {}), params[name])
    return init_around(system, params, stats, {})


def _give_vectors(spectral, layers):
    for name, tree in spectral.items():
        if name != "SpectralNorm_0":
            _give_vectors(tree, layers[name])
            continue
        u, sigma, v = np.linalg.svd(layers["kernel"].reshape(-1, layers["kernel"].shape[-1]).T)
        tree.update(u=u[:, 0], v=v[0], sigma=sigma[0])


def images(rng, count, side=32):
    return rng.uniform(-1, 1, (count, side, side, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def state():
    return begun(TINY)


@pytest.fixture(scope="module")
def view(state):
    return View(TINY.networks(), state.params, state.stats, train=True)


def applied(network, reference_network, *inputs):
    variables = to_flax(reference_network)
    return jax.jit(lambda *x: network.apply(variables, *x, train=False))(*inputs)


@torch.no_grad()
def test_masks_match_torch(rng):
    """At 128 pixels, where cells of the pyramid's grids of 3 and 6 leave a rest."""
    torch.manual_seed(0)
    network = randomise(reference.MaskNetwork(8, 2))
    x = images(rng, 2, 128)
    ours = applied(redo.MaskNetwork(8, 2), network, x)
    theirs = images_from_torch(network(images_to_torch(x)))
    assert theirs.std() > 1e-2
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    np.testing.assert_allclose(ours.sum(-1), 1, rtol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("attention", [False, True])
def test_generators_match_torch(rng, attention):
    torch.manual_seed(0)
    network = randomise(reference.Generator(4, 3, 3, attention))
    masks = rng.uniform(0, 1, (2, 32, 32, 2)).astype(np.float32)
    z = rng.normal(size=(2, 2, 3)).astype(np.float32)
    ours = applied(redo.Generator(4, 3, attention), network, masks, z)
    theirs = network(images_to_torch(masks), torch.from_numpy(z)).numpy()
    assert theirs.std() > 1e-2
    np.testing.assert_allclose(ours, np.moveaxis(theirs, 2, -1), atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("attention", [False, True])
def test_critics_match_torch(rng, attention):
    torch.manual_seed(0)
    network = randomise(reference.Critic(8, 5, 3, attention))
    x = images(rng, 2)
    ours = applied(redo.Critic(8, 5, attention), network, x)
    theirs = network(images_to_torch(x)).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_other_sizes_have_as_many_blocks_as_halvings():
    shapes = jax.eval_shape(dataclasses.replace(TINY, shape=(64, 64, 3)).init, jax.random.key(0))[0]
    region = shapes["generator"]["region1"]
    assert region["dense"]["kernel"].shape == (3, 4 * 4 * 8 * 2)
    assert [name for name in region if name.startswith("block")] == [
        f"block{number}" for number in (1, 2, 3, 4)
    ]
    last = [f"block{number}" for number in (1, 2, 3, 4, 5)]
    assert [name for name in shapes["discriminator"] if name.startswith("block")] == last


def test_without_a_mask_images_stay_and_generators_learn_nothing(view, rng):
    x, z = images(rng, 2), rng.normal(size=(2, 2, 3)).astype(np.float32)
    empty = jnp.zeros((2, 32, 32, 2))

    def fakes(params):
        drawn = TINY.networks()["generator"].apply(
            {"params": params, **view.stats["generator"]}, empty, z, train=True
        )
        return redrawn(x, empty, drawn)

    for k in range(2):
        np.testing.assert_array_equal(fakes(view._params["generator"])[:, k], x)
    weights = rng.normal(size=(2, 2, 32, 32, 3))
    slope = jax.grad(lambda params: (fakes(params) * weights).sum())(view._params["generator"])
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(slope))


def test_regions_are_redrawn_within_their_masks(rng):
    x, drawn = images(rng, 1), images(rng, 2)[None]
    first = np.zeros((32, 32), np.float32)
    first[:, :20] = 1
    masks = np.stack([first, 1 - first], -1)[None]
    made = redrawn(x, masks, drawn * np.moveaxis(masks, -1, 1)[..., None])
    for k, inside in enumerate((first == 1, first == 0)):
        np.testing.assert_array_equal(made[0, k][inside], drawn[0, k][inside])
        np.testing.assert_array_equal(made[0, k][~inside], x[0][~inside])


def test_losses_by_hand(view, rng, monkeypatch):
    """Hinge of two fakes to a real image, each mean apart; five times the latents' error."""
    x = images(rng, 2)
    seen = View(TINY.networks(), view._params, view.stats, train=True)
    loss, metrics = TINY.generator_loss(seen, {"image": x}, jax.random.key(0))
    z = seen.out["z"]
    np.testing.assert_array_equal(seen.out["source"], x)
    masks = view.frozen("masks", x)
    drawn = view.frozen("generator", masks, z)
    fakes = [drawn[:, k] + (1 - masks[..., k : k + 1]) * x for k in range(2)]
    logits = np.concatenate([view.frozen("discriminator", fake) for fake in fakes])
    found = view.frozen("recogniser", drawn[:, 0] + drawn[:, 1]).reshape(2, 2, 3)
    error = np.square(found - z).mean()
    np.testing.assert_allclose(loss, -logits.mean() + 5 * error, rtol=1e-5)
    assert metrics["region_min"] == (masks >= 0.5).mean((0, 1, 2)).min()

    real = images(rng, 2)
    batch = {"image": real, "source": x, "z": z}
    loss, _ = TINY.discriminator_loss(view, batch, jax.random.key(1))
    of_real = view.frozen("discriminator", real)
    want = np.maximum(1 - of_real, 0).mean() + np.maximum(1 + logits, 0).mean()
    np.testing.assert_allclose(loss, want, rtol=1e-5)


def test_the_discriminator_sees_the_same_images_after_the_generators_step(state, rng):
    """And other real ones. An iteration by hand, with PyTorch's weight decay on masks alone."""
    system = dataclasses.replace(TINY, weight_decay=0.5, mask_learning_rate=1e-3)
    x = images(rng, 4).reshape(2, 2, 32, 32, 3)
    before = jax.device_get(state)
    first, second = stages_of(system)[0].players
    key = jax.random.key(0)
    for number in (0, 0, 0):  # of the iteration, the player and its update
        key = jax.random.fold_in(key, number)
    after = jax.device_get(make_step(system)(jax.tree.map(jnp.array, before), {"image": x})[0])

    def view_of(params, stats):
        return View(system.networks(), {**after.params, **params}, stats, train=True)

    @jax.jit
    def made(owned):
        # The discriminator's spectral state moves in its own turn.
        stats = {**after.stats, "discriminator": before.stats["discriminator"]}
        view = view_of({**before.params, **owned}, stats)
        loss, _ = first.loss(view, {"image": x[0]}, key)
        return loss, view.out

    owned = {name: before.params[name] for name in first.owns}
    slopes, out = jax.jit(jax.grad(made, has_aux=True))(owned)
    slopes["masks"] = jax.tree.map(lambda g, w: g + 0.5 * w, slopes["masks"], owned["masks"])
    for name, rate in {"masks": 1e-3, "generator": 1e-4, "recogniser": 1e-4}.items():
        want = _after_adam(owned[name], slopes[name], rate)
        assert _apart(after.params[name], want, slopes[name]) < 0.01 * rate, name

    def judged(own):
        view = view_of({"discriminator": own}, after.stats)
        return second.loss(view, {"image": x[1], **out}, key)[0]

    slope = jax.jit(jax.grad(judged))(before.params["discriminator"])
    want = _after_adam(before.params["discriminator"], slope, 1e-4)
    assert _apart(after.params["discriminator"], want, slope) < 1e-6


def _after_adam(params, slopes, rate):
    adam = optax.adam(rate, 0.0, 0.9)
    return optax.apply_updates(params, adam.update(slopes, adam.init(params))[0])


def _apart(got, want, slopes):
    """How far parameters are apart, of those whose gradient is no rounding noise."""
    largest = max(np.abs(g).max() for g in jax.tree.leaves(slopes))
    apart = jax.tree.map(
        lambda a, b, g: np.abs(np.where(np.abs(g) > 1e-4 * largest, a - b, 0)).max(),
        *(jax.device_get(tree) for tree in (got, want, slopes)),
    )
    return max(jax.tree.leaves(apart))


@pytest.mark.usefixtures("all_in_shares")
def test_eight_devices_and_micro_batches_equal_one(rng):
    system = ATTENDS
    batch = images(rng, 32).reshape(2, 16, 32, 32, 3)
    states = []
    for mesh, parts in ((make_mesh(1), 1), (make_mesh(8), 2)):
        step = make_step(system, mesh=mesh, micro=parts)
        state, sharding = begun(system), batch_sharding(mesh, leading=1 + (parts > 1))
        state = jax.device_put(state, state_shardings(mesh, state))
        cut = batch.reshape(2, parts, -1, 32, 32, 3) if parts > 1 else batch
        state, _ = step(state, jax.device_put({"image": cut}, sharding))
        states.append(jax.device_get(state))
    # Adam's first steps are signs of gradients, of rounding, too: its moments are what is compared.
    for a, b in zip(*(jax.tree.leaves(s.opt) for s in states), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * np.max(np.abs(a)))


def test_uses_mark_regions_and_redraw_one_of_them(state, rng):
    x = images(rng, 3)
    masks = [
        apply(TINY, state, "segment", {"image": x}, options=Segmented(other=other)).made["mask"]
        for other in (False, True)
    ]
    np.testing.assert_allclose(masks[0] + masks[1], 1, rtol=1e-6)
    z = rng.normal(size=(3, 2, 3)).astype(np.float32)
    made = [
        apply(TINY, state, "redraw", {"image": x, "z": z}, options=Redrawn(region=k)).made["image"]
        for k in range(3)
    ]
    # What each leaves of the image is what the other may change.
    np.testing.assert_allclose(made[1] + made[2], made[0] + x, atol=1e-5)


def test_a_collapsed_run_is_told_to_begin_with_another_seed():
    def said(step, least):
        return TINY.failed(step, {"generator/region_min": least})

    assert "another --seed" in said(500, 0.04)
    assert not said(450, 0.04)
    assert not said(500, 0.05)
    assert not said(7001, 0.04)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shape": (96, 96, 3)}, "side 32, 64, 128"),
        ({"shape": (64, 32, 3)}, "must be square"),
        ({"mask_width": 6}, "multiple of 4"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        ReDO(**settings)
