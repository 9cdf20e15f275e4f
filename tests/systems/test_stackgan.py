import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from jaxgan import apply, init, make_step
from jaxgan.errors import UserError
from jaxgan.system import stages_of
from jaxgan.systems.stackgan import (
    Augmentation,
    Discriminator,
    Generator1,
    Generator2,
    StackGAN,
    differ,
    divergence,
)
from jaxgan.view import View
from tests.reference.port import images_from_torch, images_to_torch, randomise, to_flax

TINY = StackGAN(
    shape=(16, 16, 3),
    sketch=8,
    latent=3,
    embedding=6,
    condition=4,
    generator_width=4,
    discriminator_width=2,
    blocks=1,
    steps=2,
    batches=(8, 8),
)


def doubled(network: nn.Module, name: str, inputs: int, outputs: int) -> None:
    network.add_module(name, nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False))
    network.add_module("norm_" + name, nn.BatchNorm2d(outputs))


class TorchAugmentation(nn.Module):
    """Vectors of sentences to mean and log variance; ReLU on both."""

    def __init__(self, embedding: int = 1024, features: int = 128):
        super().__init__()
        self.dense = nn.Linear(embedding, 2 * features)

    def forward(self, caption: Tensor) -> tuple[Tensor, Tensor]:
        return self.dense(caption).relu().chunk(2, 1)


class TorchGenerator1(nn.Module):
    """Noise and conditions to images of 4 * 2^ups pixels; maps begin channels last."""

    def __init__(self, width: int, noise: int = 100, condition: int = 128, ups: int = 4):
        super().__init__()
        self.ups = ups
        self.dense = nn.Linear(noise + condition, 16 * 8 * width, bias=False)
        self.norm_dense = nn.BatchNorm2d(16 * 8 * width)
        for level in range(ups):
            doubled(self, f"up{level}", 8 * width >> level, 8 * width >> (level + 1))
        self.image = nn.Conv2d(8 * width >> ups, 3, 3, 1, 1, bias=False)

    def forward(self, z: Tensor, condition: Tensor) -> Tensor:
        h = self.dense(torch.cat([z, condition], 1))[:, :, None, None]
        h = self.norm_dense(h).relu().reshape(len(z), 4, 4, -1).permute(0, 3, 1, 2)
        return self.image(enlarged(self, h)).tanh()


def enlarged(network: nn.Module, h: Tensor) -> Tensor:
    for level in range(network.ups):
        h = nn.functional.interpolate(h, scale_factor=2, mode="nearest")
        h = getattr(network, f"norm_up{level}")(getattr(network, f"up{level}")(h)).relu()
    return h


def tiled(h: Tensor, condition: Tensor) -> Tensor:
    return torch.cat([h, condition[:, :, None, None].expand(-1, -1, *h.shape[2:])], 1)


class TorchGenerator2(nn.Module):
    """Small images and conditions to images 4 * 2^ups / 16 times as large."""

    def __init__(self, width: int, blocks: int, condition: int = 128, ups: int = 4):
        super().__init__()
        self.ups, self.blocks = ups, blocks
        self.down0 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        for level in (1, 2):
            inputs, outputs = width << (level - 1), width << level
            self.add_module(f"down{level}", nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False))
            self.add_module(f"norm_down{level}", nn.BatchNorm2d(outputs))
        self.joint = nn.Conv2d(4 * width + condition, 4 * width, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(4 * width)
        for block in range(blocks):
            for half in (0, 1):
                doubled(self, f"block{block}_{half}", 4 * width, 4 * width)
        for level in range(ups):
            doubled(self, f"up{level}", 4 * width >> level, 4 * width >> (level + 1))
        self.image = nn.Conv2d(4 * width >> ups, 3, 3, 1, 1, bias=False)

    def forward(self, image: Tensor, condition: Tensor) -> Tensor:
        h = self.down0(image).relu()
        h = self.norm_down1(self.down1(h)).relu()
        h = self.norm_down2(self.down2(h)).relu()
        h = self.norm(self.joint(tiled(h, condition))).relu()
        for block in range(self.blocks):
            kept = h
            for half in (0, 1):
                name = f"block{block}_{half}"
                h = getattr(self, f"norm_{name}")(getattr(self, name)(h))
                h = (h + kept if half else h).relu()
        return self.image(enlarged(self, h)).tanh()


class TorchDiscriminator(nn.Module):
    """Images of 4 * 2^downs pixels, with conditions and alone, to logits."""

    def __init__(self, width: int, downs: int = 4, alone: bool = False, condition: int = 128):
        super().__init__()
        self.downs, features = downs, 3
        for level in range(downs):
            conv = nn.Conv2d(features, width << level, 4, 2, 1, bias=False)
            features = width << level
            self.add_module(f"down{level}", conv)
            if level:
                self.add_module(f"norm_down{level}", nn.BatchNorm2d(features))
        self.squeezes = []
        while features > 8 * width:
            doubled(self, f"squeeze{features // 2}", features, features // 2)
            features //= 2
            self.squeezes.append(f"squeeze{features}")
        doubled(self, "joint", features + condition, features)
        self.conditional = nn.Conv2d(features, 1, 4, 4)
        self.unconditional = nn.Conv2d(features, 1, 4, 4) if alone else None

    def forward(self, x: Tensor, *conditions: Tensor) -> list[Tensor]:
        for level in range(self.downs):
            x = getattr(self, f"down{level}")(x)
            x = leaky_relu(getattr(self, f"norm_down{level}")(x) if level else x, 0.2)
        for name in self.squeezes:
            x = leaky_relu(getattr(self, f"norm_{name}")(getattr(self, name)(x)), 0.2)
        judged = [
            self.conditional(leaky_relu(self.norm_joint(self.joint(tiled(x, c))), 0.2))
            for c in conditions
        ]
        judged += [self.unconditional(x)] if self.unconditional else []
        return [logits.flatten() for logits in judged]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def size(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("widths", "published"),
    [
        ((192, 96, 2), (20_020_832, 12_407_425, 37_130_480, 159_889_538)),
        ((128, 64, 4), (10_301_248, 5_715_713, 26_290_080, 71_269_122)),
    ],
)
def test_parameter_counts_are_those_of_the_authors_code(widths, published):
    g, d, blocks = widths
    system = StackGAN(generator_width=g, discriminator_width=d, blocks=blocks)
    params, _ = jax.eval_shape(system.init, jax.random.key(0))
    counts = {name: sum(x.size for x in jax.tree.leaves(tree)) for name, tree in params.items()}
    assert published == (
        counts["augmentation1"] + counts["generator1"],
        counts["discriminator1"],
        counts["augmentation2"] + counts["generator2"],
        counts["discriminator2"],
    )
    assert counts["augmentation1"] == 262_400
    small = jax.eval_shape(dataclasses.replace(system, embedding=384).init, jax.random.key(0))
    assert sum(x.size for x in jax.tree.leaves(small[0]["augmentation2"])) == 98_560
    with torch.device("meta"):
        theirs = TorchGenerator1(g), TorchDiscriminator(d), TorchGenerator2(g, blocks)
        theirs = [*map(size, theirs), size(TorchDiscriminator(d, downs=6, alone=True))]
    names = ("generator1", "discriminator1", "generator2", "discriminator2")
    assert theirs == [counts[name] for name in names]


def close(ours, theirs):
    assert theirs.std() > 1e-3
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_augmentation_matches_torch(rng):
    network = TorchAugmentation(6, 4)
    caption = rng.standard_normal((5, 6)).astype(np.float32)
    theirs = network(torch.from_numpy(caption))
    rectified = Augmentation(4, rectified=True).apply(to_flax(network), caption, train=True)
    for ours, their in zip(rectified, theirs, strict=True):
        close(ours, their)
    mean, log_variance = Augmentation(4).apply(to_flax(network), caption, train=True)
    np.testing.assert_array_equal(mean, rectified[0])
    assert log_variance.min() < 0
    np.testing.assert_array_equal(np.maximum(log_variance, 0), rectified[1])


@torch.no_grad()
@pytest.mark.parametrize("train", [False, True])
def test_generators_match_torch(rng, train):
    def draw(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    how = {"train": train, "mutable": ["batch_stats"]}
    first = randomise(TorchGenerator1(4, 3, 5, ups=3)).train(train)
    z, condition = draw(6, 3), draw(6, 5)
    theirs = first(torch.from_numpy(z), torch.from_numpy(condition))
    ours, _ = Generator1(width=4, side=32).apply(to_flax(first), z, condition, **how)
    close(ours, images_from_torch(theirs))

    second = randomise(TorchGenerator2(4, 2, 5, ups=3)).train(train)
    image = draw(6, 16, 16, 3)
    theirs = second(images_to_torch(image), torch.from_numpy(condition))
    ours, _ = Generator2(width=4, side=32, blocks=2).apply(to_flax(second), image, condition, **how)
    close(ours, images_from_torch(theirs))


@torch.no_grad()
@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize(("downs", "alone"), [(3, False), (5, True)])
def test_discriminators_match_torch(rng, train, downs, alone):
    network = randomise(TorchDiscriminator(2, downs, alone, 5)).train(train)
    x = 30 * rng.standard_normal((6, 4 << downs, 4 << downs, 3)).astype(np.float32)
    right, wrong = (rng.standard_normal((6, 5)).astype(np.float32) for _ in range(2))
    theirs = network(images_to_torch(x), torch.from_numpy(right), torch.from_numpy(wrong))
    ours, _ = Discriminator(width=2, alone=alone).apply(
        to_flax(network), x, right, wrong, train=train, mutable=["batch_stats"]
    )
    assert len(ours) == len(theirs) == 2 + alone
    for our, their in zip(ours, theirs, strict=True):
        close(our, their)


def test_divergence_is_that_of_gaussians_as_a_mean_over_numbers(rng):
    zeros = jnp.zeros((5, 4))
    assert divergence(zeros, zeros) == 0
    mean, log_variance = rng.standard_normal((2, 5, 4)).astype(np.float32)
    np.testing.assert_allclose(divergence(mean, zeros), np.mean(mean**2) / 2, rtol=1e-5)
    drawn = torch.distributions.Normal(
        torch.from_numpy(mean), torch.from_numpy(np.exp(log_variance / 2))
    )
    kl = torch.distributions.kl_divergence(drawn, torch.distributions.Normal(0.0, 1.0))
    np.testing.assert_allclose(divergence(mean, log_variance), kl.mean(), rtol=1e-5)


def example(rng, count=8, side=8):
    return {
        "image": rng.uniform(-1, 1, (count, side, side, 3)).astype(np.float32),
        "caption": rng.standard_normal((count, 6)).astype(np.float32),
        "other": rng.standard_normal((count, 6)).astype(np.float32),
    }


def view_of(system, state, stage):
    resolution = stages_of(system)[stage - 1].resolution
    return View(system.networks(), state.params, state.stats, train=True, resolution=resolution)


@pytest.fixture(scope="module")
def state():
    return init(TINY)


def by_hand(system, state, batch, stage):
    """Both stages' loss of the discriminator, from the logits."""
    view, key = view_of(system, state, stage), jax.random.key(3)
    drawn = view.draw(system.latents(), key, 8)
    fake, mean, _ = system.made(view, {**drawn, "caption": batch["caption"]})
    others, _ = view(f"augmentation{stage}", batch["other"])
    right, wrong, *real = view(f"discriminator{stage}", batch["image"], mean, others)
    made, *alone = view(f"discriminator{stage}", fake, mean)
    counted = (batch["caption"] != batch["other"]).any(1)

    def bce(logits, target):
        logits = torch.from_numpy(np.array(logits))
        return float(
            nn.functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))
        )

    wrong = bce(wrong[counted], 0.0) * counted.mean() if counted.any() else 0.0
    if stage == 1:
        return bce(right, 1.0) + 0.5 * (bce(made, 0.0) + wrong)
    real, alone = bce(real[0], 1.0), bce(alone[0], 0.0)
    return (bce(right, 1.0) + real) / 2 + (bce(made, 0.0) + wrong + alone) / 3


@pytest.mark.parametrize("stage", [1, 2])
def test_wrong_pairs_are_never_of_equal_sentences(state, rng, stage):
    batch = example(rng, side=8 * stage)
    batch["other"][:5] = batch["caption"][:5]
    np.testing.assert_array_equal(differ(batch["caption"], batch["other"]), [0] * 5 + [1] * 3)
    key = jax.random.key(3)
    loss, _ = TINY.discriminator_loss(view_of(TINY, state, stage), batch, key)
    np.testing.assert_allclose(loss, by_hand(TINY, state, batch, stage), rtol=1e-5)
    batch["other"][:] = batch["caption"]  # none is wrong
    loss, _ = TINY.discriminator_loss(view_of(TINY, state, stage), batch, key)
    np.testing.assert_allclose(loss, by_hand(TINY, state, batch, stage), rtol=1e-5)


def test_wrong_pairs_weigh_alike_in_micro_batches(state, rng):
    """Batch norm in evaluation: of batches' statistics, halves have others."""
    batch, key = example(rng), jax.random.key(3)
    batch["other"][:3] = batch["caption"][:3]

    def wrong(rows):
        """What equal sentences leave out of the loss."""
        view = view_of(TINY, state, 1)
        view.train = False
        some = {name: x[rows] for name, x in batch.items()}
        equal = {**some, "other": some["caption"]}
        losses = [TINY.discriminator_loss(view, each, key)[0] for each in (some, equal)]
        return float(losses[0] - losses[1])

    whole, *halves = (wrong(rows) for rows in (slice(None), slice(4), slice(4, 8)))
    assert whole > 0.1
    np.testing.assert_allclose(np.mean(halves), whole, rtol=1e-4)


def test_the_discriminator_guides_conditioning_augmentation_through_images_alone(state, rng):
    batch, key = example(rng), jax.random.key(0)
    # A generator that sees nothing of the sentence: its rows of the dense layer are 0.
    blind = jax.tree.map(jnp.array, state.params)
    kernel = blind["generator1"]["dense"]["kernel"]
    blind["generator1"]["dense"]["kernel"] = kernel.at[TINY.latent :].set(0)
    system = dataclasses.replace(TINY, divergence_weight=0.0)

    def gradient(loss, params):
        def of(augmentation):
            params["augmentation1"] = augmentation
            now = dataclasses.replace(state, params=params)
            return loss(view_of(system, now, 1), batch, key)[0]

        grads = jax.grad(of)(params["augmentation1"])
        return max(float(jnp.abs(g).max()) for g in jax.tree.leaves(grads))

    assert gradient(system.generator_loss, dict(state.params)) > 0
    assert gradient(system.generator_loss, dict(blind)) == 0
    assert gradient(system.discriminator_loss, dict(blind)) == 0


def moved(before, after):
    """Networks whose parameters are others."""
    return {
        name
        for name in before.params
        if not all(
            jax.tree.leaves(jax.tree.map(np.array_equal, before.params[name], after.params[name]))
        )
    }


@pytest.mark.parametrize("stage", [1, 2])
def test_a_step_moves_the_networks_of_its_stage(state, rng, stage):
    rules = stages_of(TINY)[stage - 1]
    after, metrics = make_step(TINY, rules)(
        jax.tree.map(jnp.array, state), example(rng, side=rules.resolution)
    )
    assert moved(state, after) == {
        f"{n}{stage}" for n in ("augmentation", "generator", "discriminator")
    }
    other = f"generator{3 - stage}"
    assert jax.tree.all(jax.tree.map(np.array_equal, state.stats[other], after.stats[other]))
    assert np.isfinite(jax.tree.leaves(metrics)).all()
    assert {"real_logits", "fake_logits", "wrong_logits"} <= set(metrics["discriminator"])


def test_stages_draw_images_of_their_own_size(state):
    given = {"caption": np.ones((2, 6), np.float32)}
    assert apply(TINY, state, "generate", given).made["image"].shape == (2, 8, 8, 3)
    later = dataclasses.replace(state, step=jnp.int32(3))
    made = apply(TINY, later, "generate", given).made["image"]
    assert made.shape == (2, 16, 16, 3)
    assert not np.array_equal(made[0], made[1])  # other noise


def test_stage_ii_may_begin_with_what_stage_i_knows_of_sentences():
    system = dataclasses.replace(TINY, inherit=True, ema_decay=0.9)
    first, second = stages_of(system)
    assert first.enter is None
    assert all(stage.enter is None for stage in stages_of(TINY))
    state = init(system)
    after = second.enter(state, {}, jax.random.key(0))
    for networks in (after.params, after.ema):
        for a, b in zip(
            *(jax.tree.leaves(networks[f"augmentation{n}"]) for n in (1, 2)), strict=True
        ):
            np.testing.assert_array_equal(a, b)
    assert after.params["generator2"] is state.params["generator2"]


def test_step_sizes_are_halved(rng):
    system = dataclasses.replace(TINY, halve_every=(3, 5))
    for number, every in ((1, 3), (2, 5)):
        adam = system.adam(number)
        params = jnp.zeros(())
        opt, sizes = adam.init(params), []
        for _ in range(2 * every + 1):
            update, opt = adam.update(jnp.ones(()), opt, params)
            sizes.append(-float(update))
        expected = [2e-4 * 0.5 ** (i // every) for i in range(2 * every + 1)]
        np.testing.assert_allclose(sizes, expected, rtol=1e-3)


def test_sizes_that_cannot_be_made_are_refused():
    for shape, sketch in (((24, 24, 3), 8), ((16, 32, 3), 8), ((16, 16, 3), 4), ((16, 16, 3), 12)):
        with pytest.raises(UserError, match="StackGAN makes squares of 8, 16, 32"):
            StackGAN(shape=shape, sketch=sketch)
    with pytest.raises(UserError, match="embedding is 1024: minilm makes vectors of 384"):
        StackGAN(encoder="minilm")
    with pytest.raises(UserError, match="sketch is 16: it must be smaller"):
        StackGAN(shape=(16, 16, 3), sketch=16)
