"""DCGAN beside a loop by the rules of PyTorch's example."""

import dataclasses

import numpy as np
import torch
from torch.nn import functional as F

from tests.parity import beside
from tests.reference import originals
from tests.reference.dcgan_pytorch import Discriminator, Generator

BATCH, RATE, BETAS = 4, 1e-3, (0.5, 0.999)


def test_five_iterations(rng):
    torch.manual_seed(0)
    generator, discriminator = (
        originals.scattered(make(width=8, layers=2)).double().train()
        for make in (Generator, Discriminator)
    )
    system, params, stats = beside.converted(
        "dcgan_pytorch", generator=generator, discriminator=discriminator
    )
    system = dataclasses.replace(system, learning_rate=RATE)
    drawn, judged = beside.Running(generator), beside.Running(discriminator)
    of_g, of_d = (beside.adam(network, RATE, BETAS) for network in (generator, discriminator))

    def cross_entropy(logits, target):
        return F.binary_cross_entropy(logits.sigmoid(), torch.full_like(logits, target))

    shape = (BATCH, *system.shape)
    batches = [
        {"image": rng.uniform(-1, 1, shape).astype(np.float32)} for _ in range(beside.ITERATIONS)
    ]
    for iteration, batch in enumerate(batches):
        real = discriminator(beside.tensors(batch["image"]))
        with torch.no_grad(), drawn.still():
            fake = generator(*beside.latents_of(system, BATCH, iteration, 0))
        beside.descend(of_d, cross_entropy(real, 1.0), cross_entropy(discriminator(fake), 0.0))
        fake = generator(*beside.latents_of(system, BATCH, iteration, 1))
        with judged.still():
            beside.descend(of_g, cross_entropy(discriminator(fake), 1.0))
    state = beside.train(system, params, stats, batches)

    _, after, moved = beside.converted(
        "dcgan_pytorch", generator=drawn.state(), discriminator=judged.state()
    )
    beside.assert_updates(state.params, after, params)
    beside.assert_updates(state.stats, moved, stats)
