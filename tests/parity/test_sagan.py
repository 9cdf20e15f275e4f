"""The small SAGAN beside a loop by the rules of heykeetae's trainer, with its hinge loss."""

import dataclasses

import numpy as np
import torch

from tests.parity import beside
from tests.reference import originals
from tests.reference.sagan_heykeetae import Discriminator, Generator

BATCH, RATES, BETAS = 4, (1e-4, 4e-4), (0.0, 0.9)


def test_five_iterations(rng):
    torch.manual_seed(0)
    generator = originals.scattered(Generator(latent=6)).double().train()
    discriminator = originals.scattered(Discriminator()).double().train()
    # Real images beyond the margin: within it, gradients of the last layers, of real and of fake
    # images, cancel to rounding noise, which Adam makes full steps of.
    with torch.no_grad():
        discriminator.last[0].bias += 1.5
    system, params, stats = beside.converted(
        "sagan_heykeetae", generator=generator, discriminator=discriminator
    )
    system = dataclasses.replace(system, generator_rate=RATES[0], discriminator_rate=RATES[1])
    spectral = [beside.Spectral(network) for network in (generator, discriminator)]
    running = beside.Running(generator)
    of_g, of_d = (
        beside.adam(network, rate, BETAS)
        for network, rate in zip((generator, discriminator), RATES, strict=True)
    )
    shape = (BATCH, *system.shape)
    batches = [
        {"image": rng.uniform(-1, 1, shape).astype(np.float32)} for _ in range(beside.ITERATIONS)
    ]
    for iteration, batch in enumerate(batches):
        spectral[1].advance()
        with torch.no_grad(), running.still():
            fake = generator(*beside.latents_of(system, BATCH, iteration, 0))[0]
        real, fake = (discriminator(x)[0] for x in (beside.tensors(batch["image"]), fake))
        beside.descend(of_d, (1 - real).clamp(min=0).mean(), (1 + fake).clamp(min=0).mean())
        spectral[0].advance()
        fake = generator(*beside.latents_of(system, BATCH, iteration, 1))[0]
        beside.descend(of_g, -discriminator(fake)[0].mean())
    state = beside.train(system, params, stats, batches)

    for each in spectral:
        each.release()
    _, after, moved = beside.converted(
        "sagan_heykeetae", generator=running.state(), discriminator=discriminator
    )
    beside.assert_updates(state.params, after, params)
    beside.assert_updates(
        *(tree["generator"]["batch_stats"] for tree in (state.stats, moved, stats))
    )
