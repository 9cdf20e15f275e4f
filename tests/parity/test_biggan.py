"""BigGAN and BigGAN-deep beside a loop by the rules of ajbrock's code.

The discriminator moves several times, then the generator, each on the mean gradient of its
micro-batches; the generator's tensors of two and more axes are pushed towards orthogonality; the
average is a copy before its start.
"""

import contextlib
import dataclasses

import numpy as np
import pytest
import torch

from tests.parity import beside
from tests.reference import originals
from tests.reference.biggan_pytorch import Discriminator, Generator

BATCH, STRENGTH, RATES, BETAS, EPSILON = 4, 1e-2, (1e-3, 2e-3), (0.0, 0.999), 1e-4
DECAY, START = 0.9, 3


class Peer:
    def __init__(self, generator, discriminator, system, micro):
        self.g, self.d, self.system, self.micro = generator, discriminator, system, micro
        self.spectral = {"g": beside.Spectral(generator), "d": beside.Spectral(discriminator)}
        self.running = beside.Running(generator)
        self.optimizers = [
            beside.adam(network, rate, BETAS, EPSILON)
            for network, rate in zip((generator, discriminator), RATES, strict=True)
        ]
        self.average = None

    def parts(self, iteration, player, update=0):
        return [
            beside.latents_of(
                self.system, BATCH, iteration, player, update, micro=self.micro, part=part
            )
            for part in range(self.micro)
        ]

    def advance(self, own):
        for name in ("g", "d") if self.system.every_turn else (own,):
            self.spectral[name].advance()

    def iterate(self, iteration, batch):
        for update in range(self.system.discriminator_updates):
            self.advance("d")
            terms = []
            for part, (z, y) in enumerate(self.parts(iteration, 0, update)):
                moving = (
                    contextlib.nullcontext() if self.system.every_turn else self.running.still()
                )
                with torch.no_grad(), moving:
                    fake = self.g(z, y)
                real = self.d(batch["image"][update][part], batch["label"][update][part])
                terms += [(1 - real).clamp(min=0).mean(), (1 + self.d(fake, y)).clamp(min=0).mean()]
            beside.descend(self.optimizers[1], *(term / self.micro for term in terms))
        self.advance("g")
        self.optimizers[0].zero_grad()
        for z, y in self.parts(iteration, 1):
            (-self.d(self.g(z, y), y).mean() / self.micro).backward()
        self.orthogonalise()
        self.optimizers[0].step()
        self.follow(iteration + 1)

    def orthogonalise(self):
        shared = {id(p) for p in self.g.shared.parameters()}
        for parameter in self.g.parameters():
            if parameter.ndim > 1 and id(parameter) not in shared:
                w = parameter.detach().flatten(1)
                products = (w @ w.T).fill_diagonal_(0)
                parameter.grad += STRENGTH * 2 * (products @ w).view_as(parameter)

    def follow(self, iteration):
        now = self.running.state()
        if self.average is None or iteration < START:
            self.average = now
        for name, value in now.items():
            self.average[name] = DECAY * self.average[name] + (1 - DECAY) * value


CASES = {
    "hierarchical, attention, two updates, two micro-batches": (
        {"latent": 8, "shared": 4, "attention": (16,)},
        {},
        {"discriminator_updates": 2},
        2,
    ),
    "tables of classes, statistics in every turn": (
        {"latent": 5, "shared": 0, "hier": False},
        {},
        {"discriminator_updates": 1, "every_turn": True},
        1,
    ),
    "deep": (
        {"latent": 5, "shared": 4, "deep": True},
        {"deep": True},
        {"discriminator_updates": 1},
        1,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_five_iterations(rng, case):
    of_generator, of_discriminator, settings, micro = CASES[case]
    torch.manual_seed(0)
    generator = originals.scattered(Generator(width=2, classes=3, **of_generator)).double().train()
    discriminator = originals.scattered(Discriminator(width=2, classes=3, **of_discriminator))
    discriminator = discriminator.double().train()
    system, params, stats = beside.converted(
        "biggan_pytorch", generator=generator, discriminator=discriminator
    )
    system = dataclasses.replace(
        system,
        generator_rate=RATES[0],
        discriminator_rate=RATES[1],
        adam_epsilon=EPSILON,
        orthogonal_penalty=STRENGTH / 2,
        ema_decay=DECAY,
        ema_start=START,
        **settings,
    )
    peer = Peer(generator, discriminator, system, micro)
    lead = (settings["discriminator_updates"], micro, BATCH)
    batches = [
        {
            "image": rng.uniform(-1, 1, (*lead, 32, 32, 3)).astype(np.float32),
            "label": rng.integers(0, 3, lead).astype(np.int32),
        }
        for _ in range(beside.ITERATIONS)
    ]
    for iteration, batch in enumerate(batches):
        parts = {
            name: [[beside.tensors(part) for part in draw] for draw in x]
            for name, x in batch.items()
        }
        peer.iterate(iteration, parts)
    kept = system.stages()[0].lead(micro)
    batches = [{n: x.reshape(*kept, *x.shape[2:]) for n, x in b.items()} for b in batches]
    state = beside.train(system, params, stats, batches, micro=micro)

    _, after, moved = beside.converted(
        "biggan_pytorch", generator=peer.running.state(), discriminator=discriminator
    )
    beside.assert_updates(state.params, after, params)
    means = (tree["generator"]["batch_stats"] for tree in (state.stats, moved, stats))
    beside.assert_updates(*means)
    _, average, averaged = beside.converted("biggan_pytorch", generator=peer.average)
    ema = state.ema["generator"]
    beside.assert_updates(ema["params"], average["generator"], params["generator"])
    beside.assert_updates(
        ema["batch_stats"], averaged["generator"]["batch_stats"], stats["generator"]["batch_stats"]
    )
