import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
import torch.nn.functional as F

from jaxgan import init, make_step
from jaxgan.errors import UserError
from jaxgan.systems.segan import SegAN, dice_loss, halving_adam, multi_scale_l1
from jaxgan.training.apply import apply
from jaxgan.view import View

TINY = SegAN(shape=(40, 36, 3), width=2, learning_rate=1e-3)


def batch(rng, count=4, shape=(40, 36)):
    return {
        "image": rng.uniform(-1, 1, (count, *shape, 3)).astype(np.float32),
        "mask": (rng.random((count, *shape, 1)) > 0.5).astype(np.float32),
    }


@pytest.fixture(scope="module")
def state():
    """With norms that do something, and biases that are not 0."""
    state = init(TINY)
    return state.replace(
        params=jax.tree.map(
            lambda x: x + 0.1 * jax.random.normal(jax.random.key(x.size), x.shape), state.params
        )
    )


@pytest.fixture(scope="module")
def view(state):
    return View(TINY.networks(), state.params, state.stats, train=True)


class Torch:
    """The networks of section 21 of the sources, of Flax's parameters."""

    def __init__(self, params):
        self.params = jax.tree.map(lambda x: torch.tensor(np.asarray(x)), params)

    def conv(self, x, p, stride=1, padding=None):
        kernel = p["kernel"].permute(3, 2, 0, 1)
        same = tuple((k - 1) // 2 for k in kernel.shape[2:])
        return F.conv2d(x, kernel, p.get("bias"), stride, same if padding is None else padding)

    def norm(self, x, p):
        return F.batch_norm(x, None, None, p["scale"], p["bias"], training=True)

    def block(self, x, name, act, stride=1, padding=None):
        p = self.params[name]
        x = self.conv(x, p["conv"], stride, padding)
        return act(self.norm(x, p["norm"]) if "norm" in p else x)

    def residual(self, x, name, act):
        h = x
        for each in ("conv1", "conv2", "conv3"):
            h = act(self.conv(h, self.params[name][each]))
        return x + h

    def large(self, x, name):
        p = self.params[name]
        left = self.conv(self.conv(x, p["left1"]), p["left2"])
        right = self.conv(self.conv(x, p["right1"]), p["right2"])
        return F.relu(self.norm(left + right, p["norm"]))

    def segment(self, x):
        def leaky(h):
            return F.leaky_relu(h, 0.2)

        def up(a, b, like):
            h = torch.cat([a, b], 1)
            return F.interpolate(h, size=like.shape[2:], mode="bilinear", align_corners=False)

        def down(h, n, padding):
            return self.block(h, f"down{n}", leaky, 2, padding)

        e1 = self.residual(down(x, 1, 3), "down_residual1", leaky)
        e2 = self.residual(down(e1, 2, 2), "down_residual2", leaky)
        e3 = self.residual(down(e2, 3, 2), "down_residual3", leaky)
        e4 = self.residual(down(e3, 4, 2), "down_residual4", leaky)
        e5 = self.residual(down(e4, 5, 2), "down_residual5", leaky)
        e6 = down(e5, 6, 1)
        e6 = self.block(e6, "down_residual6", leaky) + e6
        e7 = down(e6, 7, 1)
        d = self.block(self.block(e7, "middle", leaky), "up7", F.relu)
        d = self.block(up(e7, d, e6), "up6", F.relu)
        d = self.block(d, "up_residual6", F.relu) + d
        d = self.residual(self.block(up(e6, d, e5), "up5", F.relu), "up_residual5", F.relu)
        for n, (skip, like) in zip(
            (4, 3, 2, 1, 0), ((e5, e4), (e4, e3), (e3, e2), (e2, e1), (e1, x)), strict=True
        ):
            d = self.residual(self.large(up(skip, d, like), f"up{n}"), f"up_residual{n}", F.relu)
        return self.conv(d, self.params["out"])

    def criticise(self, x):
        maps = [x]
        for n, padding in zip(range(1, 7), (3, 2, 1, 1, 1, 1), strict=True):
            maps.append(
                self.block(maps[-1], f"down{n}", lambda h: F.leaky_relu(h, 0.2), 2, padding)
            )
        weights = (1, 1, 2, 2, 2, 2, 4)
        return torch.cat([k * h.flatten(1) for k, h in zip(weights, maps, strict=True)], 1)


def nchw(x):
    return torch.tensor(np.asarray(x)).permute(0, 3, 1, 2)


def test_the_segmentor_is_that_of_the_sources(view, state, rng):
    x = batch(rng)["image"]
    theirs = Torch(state.params["segmentor"]).segment(nchw(x)).permute(0, 2, 3, 1)
    ours = view.frozen("segmentor", x)
    assert theirs.abs().max() > 0.1
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-4)


def test_the_critic_and_its_distance_are_those_of_the_sources(view, state, rng):
    a, b = (batch(rng)["image"] for _ in range(2))
    critic = Torch(state.params["critic"])
    theirs = [critic.criticise(nchw(x)) for x in (a, b)]
    ours = [view.frozen("critic", x) for x in (a, b)]
    flat = np.concatenate([h.transpose(0, 3, 1, 2).reshape(4, -1) for h in ours[0]], 1)
    np.testing.assert_allclose(flat, theirs[0].numpy(), atol=1e-4)
    distance = float((theirs[0] - theirs[1]).abs().mean())
    np.testing.assert_allclose(multi_scale_l1(*ours), distance, rtol=1e-5)


def test_the_distance_is_0_only_where_the_mask_is_right(view, rng):
    given = batch(rng)
    assert TINY.distance(view, given, given["mask"]) == 0
    one = given["mask"].copy()
    one[0, 3, 4] = 1 - one[0, 3, 4]
    assert TINY.distance(view, given, one) > 0
    assert dice_loss(given["mask"], given["mask"]) == pytest.approx(0, abs=1e-6)


def test_dice_is_of_each_sample_and_does_not_divide_by_0(rng):
    t = np.zeros((3, 4, 4, 1), np.float32)
    t[0, :2], t[1, :1] = 1, 1
    p = np.zeros_like(t)
    p[0, :1], p[1, :1] = 1, 0.5
    # 2 * 4 / (4 + 8); 2 * 2 / (1 + 4); both empty: 1.
    assert dice_loss(p, t) == pytest.approx(1 - (2 / 3 + 4 / 5 + 1) / 3, abs=1e-6)
    gradient = jax.grad(dice_loss)(jnp.zeros_like(p), jnp.zeros_like(t))
    assert np.isfinite(gradient).all()


def test_dice_has_the_weight_that_is_set(view, rng):
    given = batch(rng)
    for weight in (0.0, 2.0):
        system = dataclasses.replace(TINY, dice=weight)
        loss, metrics = system.segmentor_loss(view, given, jax.random.key(0))
        expected = metrics["distance"] + weight * (1 - metrics["dice"])
        np.testing.assert_allclose(loss, expected, rtol=1e-5)
    loss, _ = TINY.critic_loss(view, given, jax.random.key(0))
    assert loss < 0


def test_a_step_moves_both_and_keeps_the_critics_bound(rng):
    before = init(TINY)
    after, metrics = make_step(TINY)(init(TINY), batch(rng))
    largest = max(np.abs(x).max() for x in jax.tree.leaves(before.params["critic"]))
    assert largest > 0.05
    assert all(np.abs(x).max() <= np.float32(0.05) for x in jax.tree.leaves(after.params["critic"]))
    assert set(metrics) == {"critic", "segmentor"}
    moved = jax.tree.map(
        lambda a, b: np.abs(a - b).max(), after.params["segmentor"], before.params["segmentor"]
    )
    still = {"left2", "right2"}  # whose biases the norms cancel
    assert all(
        value > 0 or (path[-2].key in still and path[-1].key == "bias")
        for path, value in jax.tree_util.tree_leaves_with_path(moved)
    )


def test_adam_starts_anew_with_half_the_step(rng):
    gradients = rng.standard_normal((9, 3)).astype(np.float32)
    ours = halving_adam(0.1, (0.5, 0.999), (2, 3), 0.03)
    state, found = ours.init(jnp.zeros(3)), []
    for g in gradients:
        update, state = ours.update(jnp.asarray(g), state)
        found.append(update)
    expected = []
    for rate, part in ((0.1, (0, 2)), (0.05, (2, 5)), (0.03, (5, 8)), (0.03, (8, 9))):
        adam = optax.adam(rate, 0.5, 0.999)
        fresh = adam.init(jnp.zeros(3))
        for g in gradients[slice(*part)]:
            update, fresh = adam.update(jnp.asarray(g), fresh)
            expected.append(update)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_segmenting_gives_probabilities(state, rng):
    given = batch(rng)["image"]
    made = apply(TINY, state, "segment", {"image": given}).made["mask"]
    assert made.shape == (4, 40, 36, 1)
    assert 0 <= made.min() < made.max() <= 1
    alone = apply(TINY, state, "segment", {"image": given[2:3]}).made["mask"]
    np.testing.assert_allclose(alone[0], made[2], atol=1e-5)


def test_small_images_are_refused():
    with pytest.raises(UserError, match="at least 33 pixels"):
        SegAN(shape=(32, 64, 3))
