"""SNGAN and cGAN-PD beside a loop by the rules of mimicry's trainer.

In an iteration the discriminator moves several times on fresh images, then the generator once; the
step sizes of both fall linearly from iteration to iteration.
"""

import dataclasses

import numpy as np
import pytest
import torch

from tests.parity import beside
from tests.reference import originals
from tests.reference.sngan_mimicry import Discriminator, Generator

BATCH, UPDATES, RATE, BETAS, LAST = 4, 2, 1e-3, (0.0, 0.9), 8


class Peer:
    def __init__(self, generator, discriminator, system):
        self.g, self.d, self.system = generator, discriminator, system
        self.running, self.spectral = beside.Running(generator), beside.Spectral(discriminator)
        self.optimizers = [beside.adam(n, RATE, BETAS) for n in (generator, discriminator)]

    def iterate(self, iteration, batch):
        for optimizer in self.optimizers:
            optimizer.param_groups[0]["lr"] = RATE * (1 - iteration / LAST)
        of_g, of_d = self.optimizers
        for update in range(UPDATES):
            self.spectral.advance()
            z, *label = beside.latents_of(self.system, BATCH, iteration, 0, update)
            with torch.no_grad(), self.running.still():
                fake = self.g(z, *label)
            real, *labels = (batch[name][update] for name in ("image", "label") if name in batch)
            real, fake = self.d(real, *labels), self.d(fake, *label)
            beside.descend(of_d, (1 - real).clamp(min=0).mean(), (1 + fake).clamp(min=0).mean())
        z, *label = beside.latents_of(self.system, BATCH, iteration, 1)
        beside.descend(of_g, -self.d(self.g(z, *label), *label).mean())


@pytest.mark.parametrize("classes", [0, 3])
def test_five_iterations(rng, classes):
    torch.manual_seed(0)
    generator, discriminator = (
        originals.scattered(make(width=4, classes=classes)).double().train()
        for make in (Generator, Discriminator)
    )
    system, params, stats = beside.converted(
        "sngan_mimicry", generator=generator, discriminator=discriminator
    )
    settings = {"learning_rate": RATE, "discriminator_updates": UPDATES, "decay": (0, LAST)}
    system = dataclasses.replace(system, **settings)
    peer = Peer(generator, discriminator, system)
    batches = [
        {
            "image": rng.uniform(-1, 1, (UPDATES, BATCH, 32, 32, 3)).astype(np.float32),
            **({"label": rng.integers(0, 3, (UPDATES, BATCH)).astype(np.int32)} if classes else {}),
        }
        for _ in range(beside.ITERATIONS)
    ]
    for iteration, batch in enumerate(batches):
        draws = {name: [beside.tensors(draw) for draw in x] for name, x in batch.items()}
        peer.iterate(iteration, draws)
    state = beside.train(system, params, stats, batches)

    _, after, moved = beside.converted(
        "sngan_mimicry", generator=peer.running.state(), discriminator=discriminator
    )
    beside.assert_updates(state.params, after, params)
    beside.assert_updates(*(t["generator"] for t in (state.stats, moved, stats)))
