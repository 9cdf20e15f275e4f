"""StyleGAN2 against PyTorch networks, its lazy players, path lengths, and ADA's strength."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from jaxgan import UserError, apply, init, make_step
from jaxgan.describe import parameter_counts
from jaxgan.parallel.mesh import batch_sharding, make_mesh
from jaxgan.system import stages_of
from jaxgan.systems.stylegan2 import StyleGAN2
from jaxgan.view import View
from tests.reference import stylegan2 as reference
from tests.reference.port import images_from_torch, images_to_torch

TINY = StyleGAN2(
    shape=(8, 8, 1), latent=6, width=64, max_channels=8, mapping_layers=2, gamma=1.0, ema_decay=0.9
)
SIXTY_FOUR = StyleGAN2(
    shape=(64, 64, 3), latent=24, width=1024, max_channels=32, mapping_layers=3, group=2
)


@pytest.fixture(scope="module")
def state():
    return init(TINY)


def view_of(system, state, train=True):
    return View(system.networks(), state.params, state.stats, train=train, memory=state.memory)


@pytest.mark.parametrize(
    ("settings", "generator", "discriminator"),
    [
        ({"shape": (1024, 1024, 3)}, 30_370_060, 29_012_513),
        ({"shape": (512, 512, 3)}, 30_276_583, 28_982_849),
        ({"shape": (256, 256, 3)}, 30_034_338, 28_864_129),
        ({"shape": (256, 256, 3), "width": 16_384}, 24_767_458, 24_001_089),
        ({"shape": (64, 64, 3)}, 27_032_600, 26_488_833),
        ({"shape": (32, 32, 3), "mapping_layers": 2}, 19_947_539, 21_507_073),
    ],
)
def test_parameter_counts(settings, generator, discriminator):
    counts = parameter_counts(StyleGAN2(**settings))
    assert counts == {"generator": generator, "discriminator": discriminator}


@torch.no_grad()
def test_generator_at_64_pixels_matches_torch(rng):
    torch.manual_seed(0)
    widths = SIXTY_FOUR.widths()
    assert widths == (32, 32, 32, 32, 16)
    theirs = reference.Generator(widths, 3, 24, 3)
    ours = SIXTY_FOUR.networks()["generator"]
    params = reference.generator_to_flax(theirs)
    z = rng.normal(size=(2, 24)).astype(np.float32)
    sides = (4, 8, 8, 16, 16, 32, 32, 64, 64)
    noise = tuple(rng.normal(size=(2, n, n, 1)).astype(np.float32) for n in sides)
    start = init(SIXTY_FOUR)
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, start.params["generator"])
    variables = {"params": params, **start.stats["generator"]}
    apply = jax.jit(ours.apply, static_argnames=("method", "train"))
    w = apply(variables, z, method="styles", train=False)
    np.testing.assert_allclose(w, theirs.styles(torch.from_numpy(z)), atol=1e-4)
    styles = np.array(w)[:, None] + 0.5 * rng.normal(size=(2, 10, 24)).astype(np.float32)
    images = apply(variables, styles, noise, method="synthesize", train=False)
    expected = images_from_torch(
        theirs(torch.from_numpy(styles), [images_to_torch(x) for x in noise])
    )
    assert expected.std() > 0.1
    np.testing.assert_allclose(images, expected, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("residual", [True, False])
def test_discriminator_at_64_pixels_matches_torch(rng, residual):
    torch.manual_seed(0)
    kind = "resnet" if residual else "orig"
    system = dataclasses.replace(SIXTY_FOUR, discriminator_architecture=kind)
    theirs = reference.Discriminator(system.widths(), 3, 2, residual)
    for parameter in theirs.parameters():
        if parameter.ndim == 1:
            parameter.normal_(0, 0.3)
    x = rng.uniform(-1, 1, (4, 64, 64, 3)).astype(np.float32)
    params = reference.discriminator_to_flax(theirs)
    apply = jax.jit(system.networks()["discriminator"].apply, static_argnames="train")
    logits = apply({"params": params}, x, train=False)
    expected = theirs(images_to_torch(x)).numpy()
    assert expected.std() > 1e-3
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_lazy_players_share_the_optimisers_and_move_now_and_then(state):
    (stage,) = stages_of(TINY)
    facts = [(p.name, p.slot, p.every) for p in stage.players]
    assert facts == [
        ("generator", "generator", 1),
        ("path_length", "generator", 4),
        ("discriminator", "discriminator", 1),
        ("r1", "discriminator", 16),
    ]
    assert set(state.opt) == {"generator", "discriminator"}
    assert stage.draws == 1
    # Adam of 4 and 16 updates in 5 and 17: the size of the first step is the step size.
    gradient = {"w": jnp.ones(1)}
    for name, share in (("generator", 4 / 5), ("discriminator", 16 / 17)):
        adam = next(p.optimizer for p in stage.players if p.name == name)
        updates, moments = adam.update(gradient, adam.init(gradient))
        np.testing.assert_allclose(updates["w"], -2e-3 * share, rtol=1e-5)
        (second,) = optax.tree.get_all_with_path(moments, "nu")[0][1].values()
        np.testing.assert_allclose(second, 1 - 0.99**share, rtol=1e-4)
    # Without path length it is reckoned with all the same, as in the authors' code.
    plain = stages_of(dataclasses.replace(TINY, path_weight=0.0))[0].players
    assert [p.name for p in plain] == ["generator", "discriminator", "r1"]
    updates, _ = plain[0].optimizer.update(gradient, plain[0].optimizer.init(gradient))
    np.testing.assert_allclose(updates["w"], -2e-3 * 4 / 5, rtol=1e-5)


def test_path_lengths_of_a_generator_and_their_mean(state, rng):
    """The slope of a random projection, by finite differences along styles."""
    view = view_of(TINY, state)
    batch = {"image": jnp.zeros((4, 8, 8, 1))}

    @jax.jit
    def path_loss(batch):
        result = TINY.path_loss(view, batch, jax.random.key(2))
        return result, view.memory["path_length"]

    (loss, metrics), mean = path_loss(batch)
    np.testing.assert_allclose(mean, 0.01 * metrics["length"], rtol=1e-5)
    np.testing.assert_allclose(loss, 2 * 4 * metrics["penalty"], rtol=1e-5)

    image_key, direction_key = jax.random.split(jax.random.key(2))
    fresh = view_of(TINY, state)
    styles, noise = TINY.draw_mixed(fresh, image_key, 2)
    keys = fresh.keys(direction_key, 2)
    direction = jax.vmap(lambda key: jax.random.normal(key, (8, 8, 1)))(keys) / 8
    project = jax.jit(lambda w: (TINY.synthesize(fresh, w, noise) * direction).sum())
    lengths = []
    for index in range(2):
        slopes = np.zeros(styles.shape[1:])
        for place in np.ndindex(slopes.shape):
            step = jnp.zeros(styles.shape).at[(index, *place)].set(1e-2)
            slopes[place] = (project(styles + step) - project(styles - step)) / 2e-2
        lengths.append(np.sqrt(np.square(slopes).sum(1).mean()))
    np.testing.assert_allclose(metrics["length"], np.mean(lengths), rtol=2e-2)
    np.testing.assert_allclose(
        metrics["penalty"], np.square(np.array(lengths) - mean).mean(), rtol=4e-2
    )


def test_r1_makes_up_for_its_rests(state, rng):
    view = view_of(TINY, state)
    x = rng.uniform(-1, 1, (4, 8, 8, 1)).astype(np.float32)
    loss, metrics = jax.jit(lambda x: TINY.r1_loss(view, {"image": x}, jax.random.key(0)))(x)
    slopes = jax.jit(jax.grad(lambda x: view.frozen("discriminator", x).sum()))(x)
    expected = np.square(slopes).sum((1, 2, 3)).mean() / 2
    np.testing.assert_allclose(metrics["penalty"], expected, rtol=1e-4)
    np.testing.assert_allclose(loss, 16 * expected, rtol=1e-4)


def test_the_strength_of_augmentation_follows_the_signs_of_real_logits():
    system = dataclasses.replace(TINY, ada_target=0.6, ada_kimg=0.1, ada_every=16)
    state = {name: jnp.zeros(()) for name in ("strength", "signs", "count")}
    sure, unsure = jnp.ones(8), jnp.array([1.0, 1, 1, 1, 1, 1, -1, -1])  # mean signs 1 and 0.5
    state = system._adapted(state, sure)
    assert [float(state[k]) for k in ("strength", "signs", "count")] == [0, 8, 8]
    state = system._adapted(state, sure)
    np.testing.assert_allclose(state["strength"], 16 / 100)
    assert float(state["count"]) == 0
    for _ in range(2):
        state = system._adapted(state, unsure)
    np.testing.assert_allclose(state["strength"], 0, atol=1e-7)
    for _ in range(100):
        state = system._adapted(state, sure)
    assert state["strength"] <= 1


def test_the_average_is_faster_in_the_beginning():
    ramp = dataclasses.replace(TINY, ema_decay=0.999, ema_rampup=0.05).ema()["generator"]
    np.testing.assert_allclose(ramp(jnp.int32(0)), 0, atol=1e-6)
    np.testing.assert_allclose(ramp(jnp.int32(200)), 0.5**0.1, rtol=1e-5)
    np.testing.assert_allclose(ramp(jnp.int32(10**6)), 0.999, rtol=1e-6)


def test_psi_0_is_one_image(state, rng):
    view = view_of(TINY, state, train=False)
    z = rng.normal(size=(3, 6)).astype(np.float32)
    images = TINY.make(view, {"z": z, "psi": np.zeros(3, np.float32)})
    np.testing.assert_allclose(images, jnp.broadcast_to(images[:1], images.shape), atol=1e-5)
    w = view("generator", z, method="styles")
    plain = TINY.synthesize(view, jnp.repeat(w[:, None], 4, 1))
    np.testing.assert_array_equal(TINY.make(view, {"z": z, "psi": np.ones(3, np.float32)}), plain)


@pytest.mark.usefixtures("all_in_shares")
def test_eight_devices_equal_one_with_lazy_players(rng):
    system = dataclasses.replace(TINY, path_every=2, r1_every=2, path_shrink=1)
    data = rng.uniform(-1, 1, (3, 16, 8, 8, 1)).astype(np.float32)
    states = []
    for mesh in (make_mesh(1), make_mesh(4, 2)):
        step, state = make_step(system, mesh=mesh), init(system, mesh=mesh)
        for images in data:
            batch = {"image": jax.device_put(images, batch_sharding(mesh, leading=0))}
            state, metrics = step(state, batch)
        states.append(jax.device_get((state, metrics)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *states)
    state, metrics = states[0]
    assert metrics["r1"]["penalty"] > 0  # moved in steps 0 and 2
    assert state.memory["path_length"] > 0
    assert abs(state.stats["generator"]["average"]["mapping"]["style"]).max() > 0


def test_micro_batches_train():
    system = dataclasses.replace(TINY, ada_target=0.6, path_weight=0.0)
    batch = {"image": np.random.default_rng(0).uniform(-1, 1, (2, 4, 8, 8, 1)).astype(np.float32)}
    state, metrics = make_step(system, micro=2)(init(system), batch)
    assert np.isfinite(jax.tree.leaves(metrics)).all()
    assert float(state.memory["augmentation"]["count"]) == 8


def test_conditional_networks_train_and_draw_what_labels_say():
    system = dataclasses.replace(TINY, classes=3, label_layers=2, group=0, path_every=1, r1_every=1)
    state = init(system)
    rng = np.random.default_rng(0)
    z = rng.normal(size=(2, system.latent)).astype(np.float32)
    labels = np.array([0, 2])
    one, same, other = (
        apply(system, state, "generate", {"z": z, "label": label}).made["image"]
        for label in (labels, labels, labels[::-1].copy())
    )
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-3
    before = jax.device_get(state.params)
    batch = {"image": rng.uniform(-1, 1, (4, 8, 8, 1)).astype(np.float32)}
    batch["label"] = rng.integers(0, 3, 4).astype(np.int32)
    after, metrics = make_step(system)(state, batch)
    assert np.isfinite(jax.tree.leaves(metrics)).all()
    for network in ("generator", "discriminator"):
        kernels = (p[network]["mapping"]["embed"]["kernel"] for p in (before, after.params))
        moved = np.abs(np.subtract(*map(np.asarray, kernels))).max(-1)
        assert (moved[np.unique(batch["label"])] > 0).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shape": (24, 24, 3)}, "squares of 8, 16, 32"),
        ({"path_shrink": 0}, "path-shrink is 0: it must be at least 1"),
        ({"shape": (8, 8, 4), "ada_target": 0.6}, "grey images and RGB"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        StyleGAN2(**settings)
