import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgan import Player, UserError, init, make_step
from jaxgan.parallel.mesh import batch_sharding, make_mesh
from jaxgan.systems.cgan import CGAN
from jaxgan.systems.gan import GAN
from jaxgan.training.checkpoint import Checkpoints
from jaxgan.training.spectral import power_iteration
from jaxgan.training.step import state_shapes, with_pretrained
from jaxgan.view import View
from tests.toys import Guided, Numbers, TinyGAN

LABELLED = CGAN(shape=(8, 8, 1), width=2, latent=2, classes=3)


def towards(name, sign=1.0):
    """Loss of a player: squared distance of its number to the mean of the batch."""

    def loss(view, batch, key):
        value = view(name, jnp.ones(()))
        return sign * jnp.mean((value - batch["image"]) ** 2), {"value": value}

    return loss


def player(name, loss=None, **options):
    return Player(
        name=name,
        owns=(name,),
        loss=loss or towards(name),
        optimizer=options.pop("optimizer", optax.sgd(0.25)),
        **options,
    )


def value(state, name):
    return float(state.params[name]["x"])


def test_a_start_is_traced_once_for_all_seeds_and_layouts():
    traced = []

    class Counted(TinyGAN):
        def init(self, key):
            traced.append(key)
            return super().init(key)

    system, mesh = Counted(), make_mesh(1)
    state_shapes(system)
    one, two = (init(system, seed, mesh=mesh) for seed in (1, 2**32 - 1))
    make_step(system, mesh=mesh)
    state_shapes(system, mesh)
    assert len(traced) == 1
    same = jax.tree.map(lambda a, b: bool((a == b).all()), one.params, two.params)
    assert not all(jax.tree.leaves(same))


def test_players_move_in_turn_and_draw_fresh_batches_or_reuse_the_last():
    system = Numbers(players=(player("a", repeats=2), player("b", reuse=True)))
    step = make_step(system)
    state = init(system)
    first, second = np.full(4, 3.0, np.float32), np.full(4, 7.0, np.float32)
    state, metrics = step(state, {"image": np.stack([first, second])})
    # SGD with rate 1/4 on (x - m)^2 goes half the way to m: 1 -> 2 -> 4.5, and b: 2 -> 4.5.
    assert value(state, "a") == pytest.approx(4.5)
    assert value(state, "b") == pytest.approx(4.5)
    assert int(state.step) == 1
    assert float(metrics["a"]["value"]) == 2.0  # of the last repeat, before its update
    assert float(metrics["a"]["loss"]) == 25.0
    assert float(metrics["a"]["gradient_norm"]) == 10.0


@pytest.mark.parametrize(("mean", "updates"), [(3.0, 1), (9.0, 2)])
def test_a_player_may_move_as_often_as_what_others_found_asks_for(mean, updates):
    def chosen(metrics):
        return 1 + (metrics["a"]["loss"] > 10)

    follower = player("b", repeats=3, updates=chosen, reuse=True)
    system = Numbers(players=(player("a"), follower))
    state, metrics = make_step(system)(init(system), {"image": np.full(4, mean, np.float32)})
    # Each update goes half the way from 2 to the mean.
    assert value(state, "b") == pytest.approx(mean - (mean - 2) / 2**updates)
    assert float(metrics["b"]["value"]) == pytest.approx(mean - (mean - 2) / 2 ** (updates - 1))


def test_a_lazy_player_moves_on_every_nth_iteration():
    system = Numbers(players=(player("a"), player("b", every=3, reuse=True)))
    step, state = make_step(system), init(system)
    seen = []
    for _ in range(5):
        state, metrics = step(state, {"image": np.full(2, 4.0, np.float32)})
        seen.append((value(state, "b"), float(metrics["b"]["loss"])))
    assert seen == [(3.0, 4.0), (3.0, 0.0), (3.0, 0.0), (3.5, 1.0), (3.5, 0.0)]


def test_a_lazy_player_cannot_emit():
    def loss(view, batch, key):
        view.out["fake"] = batch["image"]
        return view("a", jnp.ones(())), {}

    system = Numbers(players=(player("a", loss, every=2),))
    with pytest.raises(ValueError, match="rests at times"):
        make_step(system)(init(system), {"image": np.ones(2, np.float32)})


def test_emitted_arrays_reach_later_players():
    def emit(view, batch, key):
        view.out["target"] = 2 * batch["image"]
        return towards("a")(view, batch, key)

    def follow(view, batch, key):
        return towards("b")(view, {"image": batch["target"]}, key)

    system = Numbers(players=(player("a", emit), player("b", follow, reuse=True)))
    for micro, shape in ((1, (4,)), (2, (2, 2))):
        images = np.full(shape, 4.0, np.float32)
        state, _ = make_step(system, micro=micro)(init(system), {"image": images})
        assert value(state, "b") == pytest.approx(5.0)  # half the way from 2 to 8


def test_projection_follows_the_update():
    clip = lambda params: jax.tree.map(lambda x: jnp.clip(x, -1.5, 1.5), params)  # noqa: E731
    system = Numbers(players=(player("a", project=clip),))
    state, _ = make_step(system)(init(system), {"image": np.full(2, 9.0, np.float32)})
    assert value(state, "a") == 1.5


def test_players_that_share_a_slot_share_their_moments():
    momentum = optax.sgd(0.25, momentum=1.0)
    shared = (
        player("a", optimizer=momentum),
        Player(
            name="again",
            owns=("a",),
            loss=towards("a"),
            optimizer=momentum,
            slot="a",
            reuse=True,
        ),
    )
    system = Numbers(players=shared)
    state = init(system)
    assert set(state.opt) == {"a"}
    state, _ = make_step(system)(state, {"image": np.full(2, 3.0, np.float32)})
    # Gradients -4 then -2; the second update carries the momentum of the first: 1 + 1 + (1 + .5).
    assert value(state, "a") == pytest.approx(3.5)


@pytest.mark.parametrize(
    ("players", "message"),
    [
        ((player("a"), dataclasses.replace(player("b"), slot="a")), "must own the same"),
        ((dataclasses.replace(player("a"), owns=("c",)),), "owns"),
        ((player("a", updates=lambda metrics: 1),), "repeats is 1"),
    ],
)
def test_broken_contracts_are_named(players, message):
    with pytest.raises(ValueError, match=message):
        init(Numbers(players=players))


def test_average_is_a_copy_at_first_and_then_decays():
    system = Numbers(players=(player("a"),), decays=(("a", 0.75),))
    step, state = make_step(system), init(system)
    assert float(state.ema["a"]["params"]["x"]) == 1.0
    xs, average = [], 1.0
    for _ in range(4):
        state, _ = step(state, {"image": np.full(2, 3.0, np.float32)})
        xs.append(value(state, "a"))
        average = 0.75 * average + 0.25 * xs[-1]
        assert float(state.ema["a"]["params"]["x"]) == pytest.approx(average)


def test_a_decay_of_zero_copies_to_the_last_bit_with_buffers(rng):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Copied(TinyGAN):
        def ema(self):
            return {"generator": lambda step: jnp.where(step < 2, 0.0, 0.5)}

    step, state = make_step(Copied()), init(Copied())
    batch = {"image": rng.normal(size=(16, 2)).astype(np.float32)}
    for _ in range(2):
        state, _ = step(state, batch)
        live = {
            "params": state.params["generator"],
            "batch_stats": state.stats["generator"]["batch_stats"],
        }
        jax.tree.map(np.testing.assert_array_equal, state.ema["generator"], live)
    state, _ = step(state, batch)
    kernels = (
        t["out"]["kernel"] for t in (state.ema["generator"]["params"], state.params["generator"])
    )
    assert (np.subtract(*kernels) != 0).all()


def test_the_state_is_donated(rng):
    system = TinyGAN()
    state = init(system)
    batch = {"image": rng.normal(size=(16, 2)).astype(np.float32)}
    new, _ = make_step(system)(state, batch)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((state.params, state.opt, state.ema)))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(new))


def test_only_declared_statistics_move(rng):
    """In D's turn G runs in training mode, but its running means stay: D does not write them."""
    system = TinyGAN()
    (stage,) = system.stages()
    just_d = dataclasses.replace(stage, players=stage.players[:1])
    before = jax.tree.map(np.asarray, init(system).stats)
    state, _ = make_step(system, just_d)(
        init(system), {"image": rng.normal(size=(16, 2)).astype(np.float32)}
    )
    jax.tree.map(np.testing.assert_array_equal, state.stats["generator"], before["generator"])
    moved = state.stats["discriminator"]["spectral"]["hidden"]["SpectralNorm_0"]["u"]
    was = before["discriminator"]["spectral"]["hidden"]["SpectralNorm_0"]["u"]
    assert (np.asarray(moved) != was).any()


@pytest.mark.parametrize("repeats", [1, 3])
def test_power_iteration_runs_once_an_update(rng, repeats):
    """However often the loss applies D; checked against the iteration written out in NumPy."""
    system = TinyGAN(repeats=repeats, learning_rate=0.0)
    state = init(system)
    spectral = state.stats["discriminator"]["spectral"]["hidden"]["SpectralNorm_0"]
    u = np.asarray(spectral["u"], np.float64)
    matrix = np.asarray(state.params["discriminator"]["hidden"]["kernel"], np.float64).T
    for _ in range(repeats):
        v = matrix.T @ u / np.linalg.norm(matrix.T @ u)
        u = matrix @ v / np.linalg.norm(matrix @ v)
    images = rng.normal(size=(repeats, 16, 2)).astype(np.float32)
    batch = {"image": images if repeats > 1 else images[0]}
    state, _ = make_step(system)(state, batch)
    spectral = state.stats["discriminator"]["spectral"]["hidden"]["SpectralNorm_0"]
    np.testing.assert_allclose(spectral["u"], u, atol=1e-5)
    np.testing.assert_allclose(spectral["sigma"], u @ matrix @ v, rtol=1e-5)


def test_power_iteration_ignores_networks_without_spectral_state():
    system = Numbers(players=(player("a"),))
    state = init(system)
    assert power_iteration("a", {}, {}, state.params, state.stats) is state.stats


@pytest.mark.parametrize("repeats", [1, 2])
def test_micro_batches_equal_one_batch_without_batch_norm(rng, repeats):
    system = TinyGAN(norm=False, repeats=repeats)
    images = rng.normal(size=(repeats, 16, 2)).astype(np.float32)
    states = []
    for micro in (1, 4):
        step, state = make_step(system, micro=micro), init(system)
        shape = (*(n for n in (repeats, micro) if n > 1), 16 // micro, 2)
        for _ in range(3):
            state, metrics = step(state, {"image": images.reshape(shape)})
        states.append((state, metrics))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), *states)


def test_what_micro_batches_draw_is_what_one_batch_draws():
    fields, key = LABELLED.latents(), jax.random.key(3)
    (whole,), parts = (
        [
            View({}, {}, {}, train=True, micro=(micro, part)).draw(fields, key, 16 // micro)
            for part in range(micro)
        ]
        for micro in (1, 4)
    )
    assert set(whole) == {"z", "label"}
    assert len(np.unique(whole["z"])) == whole["z"].size
    for name, rows in whole.items():
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), rows)


def test_a_wrong_batch_shape_is_named(rng):
    system = TinyGAN(repeats=2)
    with pytest.raises(ValueError, match=r"leading axes \(2,\) for 2 draws"):
        make_step(system)(init(system), {"image": np.zeros((16, 2), np.float32)})


def test_same_seed_same_bits_and_another_seed_differs(rng):
    system = TinyGAN()
    batch = {"image": rng.normal(size=(16, 2)).astype(np.float32)}

    def train(seed):
        step, state = make_step(system, seed=seed), init(system, seed)
        for _ in range(3):
            state, _ = step(state, batch)
        return state

    jax.tree.map(np.testing.assert_array_equal, train(1), train(1))
    a, b = (train(s).params["generator"]["out"]["kernel"] for s in (1, 2))
    assert (np.asarray(a) != np.asarray(b)).any()


@pytest.mark.usefixtures("all_in_shares")
@pytest.mark.parametrize("micro", [1, 2])
def test_eight_devices_equal_one(rng, micro):
    """Batch norm sees the global batch, latents are drawn at global shape, updates are shared."""
    system = TinyGAN(repeats=2)
    shape = (2, *((micro,) if micro > 1 else ()), 32 // micro, 2)
    images = rng.normal(size=shape).astype(np.float32)
    states = []
    for mesh in (make_mesh(1), make_mesh(8), make_mesh(8, 1), make_mesh(4, 2)):
        step, state = make_step(system, micro=micro, mesh=mesh), init(system, mesh=mesh)
        sharding = batch_sharding(mesh, leading=images.ndim - 2)
        batch = {"image": jax.device_put(images, sharding)}
        for _ in range(4):
            state, metrics = step(state, batch)
        states.append(jax.device_get((state, metrics)))
    for other in states[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), states[0], other)


def test_systems_that_learn_without_labels_have_no_classes():
    with pytest.raises(TypeError, match="classes"):
        TinyGAN(classes=3)


PAIR = {
    "image": jax.ShapeDtypeStruct((4, 8, 8, 1), jnp.float32),
    "label": jax.ShapeDtypeStruct((4,), jnp.int32),
}


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (PAIR["image"], "the batch is not a dict: give one of arrays with image, label"),
        (
            {**PAIR, "image": jax.ShapeDtypeStruct((4, 8, 8, 1), jnp.uint8)},
            r"batch\['image'\] is uint8, expected float32 in \[-1, 1\]: x / 127.5 - 1 of bytes",
        ),
        (
            {**PAIR, "label": jax.ShapeDtypeStruct((4,), jnp.float32)},
            r"batch\['label'\] is float32, expected int32",
        ),
        ({"image": PAIR["image"]}, "has image, but CGAN learns from image, label: give these"),
        ({**PAIR, "mask": PAIR["image"]}, "has image, label, mask, but CGAN learns from image, l"),
        (
            {**PAIR, "image": jax.ShapeDtypeStruct((4, 8, 16, 1), jnp.float32)},
            r"has shape \(4, 8, 16, 1\), expected \[b, ...\] of image 8x8x1",
        ),
        (
            {**PAIR, "image": jax.ShapeDtypeStruct((8, 8, 1), jnp.float32)},
            r"has shape \(8, 8, 1\), expected \[b, ...\] of image 8x8x1",
        ),
        (
            {**PAIR, "image": jax.ShapeDtypeStruct((2, 2, 8, 8, 1), jnp.float32)},
            r"has shape \(2, 2, 8, 8, 1\), expected \[b, ...\] of image 8x8x1",
        ),
    ],
)
def test_a_batch_of_something_else_is_refused(batch, message):
    with pytest.raises(UserError, match=message) as error:
        make_step(LABELLED).lower(state_shapes(LABELLED), batch)
    assert "\n" not in str(error.value)


def test_augmentation_is_refused_where_no_loss_augments():
    batch = {"image": jax.ShapeDtypeStruct((4, 2), jnp.float32)}
    with pytest.raises(UserError, match="--augment is color, but no loss of TinyGAN") as error:
        make_step(TinyGAN(), augment="color").lower(state_shapes(TinyGAN()), batch)
    assert "\n" not in str(error.value)
    make_step(LABELLED, augment="color").lower(state_shapes(LABELLED), PAIR)


def test_augmentation_is_refused_where_points_are_judged():
    system = GAN(shape=(2,), latent=2)
    batch = {"image": jax.ShapeDtypeStruct((4, 2), jnp.float32)}
    with pytest.raises(UserError, match=r"--augment changes images, but what is .* \(4, 2\)"):
        make_step(system, augment="cutout").lower(state_shapes(system), batch)


def test_a_system_keeps_arrays_of_its_own():
    """Scalars and pools in `memory`, moved by the player that writes them."""

    class Pooled(Numbers):
        def memory(self, key):
            return {"pool": jnp.zeros((2, 3)), "count": jnp.zeros((), jnp.int32)}

    def loss(view, batch, key):
        view.memory["pool"] = view.memory["pool"] + 1
        view.memory["count"] = view.memory["count"] + 1
        return towards("a")(view, batch, key)

    system = Pooled(players=(player("a", loss, writes=("pool",)),))
    state, _ = make_step(system)(init(system), {"image": np.ones(2, np.float32)})
    np.testing.assert_array_equal(state.memory["pool"], np.ones((2, 3)))
    assert int(state.memory["count"]) == 0  # not declared
    # Micro-batches are one update, and each moves it.
    state, _ = make_step(system, micro=2)(state, {"image": np.ones((2, 2), np.float32)})
    np.testing.assert_array_equal(state.memory["pool"], np.full((2, 3), 3))


def test_pretrained_networks_guide_and_never_move(rng, tmp_path):
    """They are in the State, in no optimiser, average or checkpoint, and in no other State."""
    system = Guided()
    batches = [{"image": rng.normal(size=(16, 2)).astype(np.float32)} for _ in range(4)]
    step, state, other = make_step(system), init(system), init(system)
    weights = jax.device_get(state.pretrained)
    for batch in batches[:2]:
        state, metrics = step(state, batch)
    # The first State's were donated, the second's were not the same.
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(other.pretrained), weights)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state.pretrained), weights)
    assert metrics["generator"]["guidance"] > 0
    assert "guide" not in {**state.params, **state.stats, **state.opt, **state.ema}
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(state)
    assert not [path for path in tmp_path.rglob("*") if "guide" in path.name]
    with Checkpoints(tmp_path) as checkpoints:
        restored = with_pretrained(system, checkpoints.restore(state_shapes(system)))
    for batch in batches[2:]:
        state, expected = step(state, batch)
        restored, metrics = step(restored, batch)
    jax.tree.map(np.testing.assert_array_equal, (state, expected), (restored, metrics))


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_pretrained_networks_matter(rng, weight):
    """Gradients pass through them: with weight 0 the generator moves as without."""
    batch = {"image": rng.normal(size=(16, 2)).astype(np.float32)}
    with_guide, without = Guided(weight=weight), TinyGAN()
    moved, _ = make_step(with_guide)(init(with_guide), batch)
    plain, _ = make_step(without)(init(without), batch)
    a, b = (s.params["generator"]["out"]["kernel"] for s in (moved, plain))
    assert np.allclose(a, b, atol=1e-6) == (weight == 0)


def test_pretrained_networks_lie_whole_on_every_device(rng):
    system, batch = Guided(), {"image": rng.normal(size=(16, 2)).astype(np.float32)}
    states = []
    for mesh in (make_mesh(1), make_mesh(4, 2)):
        state = init(system, 1, mesh=mesh)
        assert all(x.is_fully_replicated for x in jax.tree.leaves(state.pretrained))
        data = jax.device_put(batch, batch_sharding(mesh, leading=0))
        for _ in range(2):
            state, metrics = make_step(system, mesh=mesh)(state, data)
        states.append(jax.device_get((state, metrics)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *states)


def test_a_view_tells_the_step_and_the_resolution_of_the_stage():
    seen = []

    def loss(view, batch, key):
        seen.append(view.resolution)
        return towards("a")(view, {"image": batch["image"] + view.step}, key)

    system = Numbers(players=(player("a", loss),))
    stage = dataclasses.replace(system.stages()[0], resolution=4)
    step, state = make_step(system, stage), init(system)
    # Half the way to 3, then half the way to 3 + 1.
    for expected in (2.0, 3.0):
        state, _ = step(state, {"image": np.full(2, 3.0, np.float32)})
        assert value(state, "a") == pytest.approx(expected)
    assert set(seen) == {4}
