"""CycleGAN and pix2pix beside loops by the rules of their authors' PyTorch code.

But for the step size, which falls from iteration to iteration here.
"""

import dataclasses
import itertools

import jax
import numpy as np
import torch
from torch.nn import functional as F

from jaxgan.systems.cyclegan import draw_words
from tests.parity import beside
from tests.reference import originals
from tests.reference.cyclegan_pytorch import PatchGAN, ResNet, UNet, batch_norm

RATE, BETAS, FALLS = 1e-3, (0.5, 0.999), (2, 8)
SHAPE = (16, 16, 3)
SETTINGS = {"shape": SHAPE, "learning_rate": RATE, "decay": FALLS}


def networks(**makers):
    torch.manual_seed(0)
    return {name: originals.scattered(m, 1).double().train() for name, m in makers.items()}


def optimizer(*networks):
    return torch.optim.Adam(itertools.chain(*(n.parameters() for n in networks)), RATE, BETAS)


def lower(optimizers, iteration):
    share = 1 - max(0, iteration - FALLS[0]) / (FALLS[1] - FALLS[0])
    for each in optimizers:
        each.param_groups[0]["lr"] = RATE * share


def pairs(rng, count):
    return [
        {n: rng.uniform(-1, 1, (count, *SHAPE)).astype(np.float32) for n in ("input", "image")}
        for _ in range(beside.ITERATIONS)
    ]


class Pool:
    """Fifty fakes there, three here; coins and places are those that our step draws."""

    def __init__(self, size):
        self.size, self.images = size, []

    def query(self, fakes, words):
        given = []
        for fake, (coin, place) in zip(fakes, words.tolist(), strict=True):
            if len(self.images) < self.size:
                self.images.append(fake)
                given.append(fake)
            elif coin >= 2**31:
                given.append(self.images[place % self.size])
                self.images[place % self.size] = fake
            else:
                given.append(fake)
        return torch.stack(given)


def squares(logits, target):
    return F.mse_loss(logits, torch.full_like(logits, target))


def test_cyclegan_five_iterations(rng):
    nets = networks(
        generator_ab=ResNet(blocks=1),
        generator_ba=ResNet(blocks=1),
        discriminator_a=PatchGAN(halvings=2),
        discriminator_b=PatchGAN(halvings=2),
    )
    ab, ba, judge_a, judge_b = nets.values()
    system, params, stats = beside.converted("cyclegan_pytorch", **nets)
    system = dataclasses.replace(system, pool=3, **SETTINGS)
    optimizers = of_g, of_d = optimizer(ab, ba), optimizer(judge_a, judge_b)
    pools = Pool(3), Pool(3)
    batches = pairs(rng, 2)
    for iteration, batch in enumerate(batches):
        lower(optimizers, iteration)
        a, b = (beside.tensors(batch[name]) for name in ("input", "image"))
        fake_b, fake_a = ab(a), ba(b)
        beside.descend(
            of_g,
            squares(judge_b(fake_b), 1.0) + squares(judge_a(fake_a), 1.0),
            10 * (F.l1_loss(ba(fake_b), a) + F.l1_loss(ab(fake_a), b)),
            5 * (F.l1_loss(ba(a), a) + F.l1_loss(ab(b), b)),
        )
        terms = []
        keys = jax.random.split(beside.key_of(iteration, 1))
        sides = zip(keys, pools, (judge_a, judge_b), (a, b), (fake_a, fake_b), strict=True)
        for key, pool, judge, real, fake in sides:
            words = np.asarray(draw_words(beside.view_of().keys(key, len(fake))))
            old = pool.query(fake.detach(), words)
            terms.append(0.5 * (squares(judge(real), 1.0) + squares(judge(old), 0.0)))
        beside.descend(of_d, *terms)
    state = beside.train(system, params, stats, batches)

    _, after, _ = beside.converted("cyclegan_pytorch", **nets)
    beside.assert_updates(state.params, after, params)


def test_pix2pix_five_iterations(rng):
    """Batches of one; without dropout, so that both players see one output, as there."""
    nets = networks(
        generator=UNet(halvings=4), discriminator=PatchGAN(channels=6, halvings=2, norm=batch_norm)
    )
    generator, discriminator = nets.values()
    system, params, stats = beside.converted("pix2pix_pytorch", **nets)
    system = dataclasses.replace(system, dropout=0.0, **SETTINGS)
    optimizers = of_g, of_d = optimizer(generator), optimizer(discriminator)

    def cross_entropy(logits, target):
        return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))

    batches = pairs(rng, 1)
    for iteration, batch in enumerate(batches):
        lower(optimizers, iteration)
        given, image = (beside.tensors(batch[name]) for name in ("input", "image"))
        made = generator(given)
        real = discriminator(torch.cat([given, image], 1))
        fake = discriminator(torch.cat([given, made.detach()], 1))
        beside.descend(of_d, 0.5 * cross_entropy(real, 1.0), 0.5 * cross_entropy(fake, 0.0))
        adversarial = cross_entropy(discriminator(torch.cat([given, made], 1)), 1.0)
        beside.descend(of_g, adversarial, 100 * F.l1_loss(made, image))
    state = beside.train(system, params, stats, batches)

    _, after, _ = beside.converted("pix2pix_pytorch", **nets)
    beside.assert_updates(state.params, after, params)
