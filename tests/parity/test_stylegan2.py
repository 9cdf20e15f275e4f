"""StyleGAN2 with ADA beside a loop by the rules of its authors' PyTorch code.

Main and lazy turns share Adam, whose rates count the latter; path lengths and R1 are weighted by
how rarely they come; the augmentation's probability follows the signs of real logits; the average's
half-life grows with the images seen. The augmentation itself, which is affine in an image, is ours,
as a matrix: tests/test_augment.py compares it.
"""

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch.nn import functional as F

from jaxgan.augment import NUMBERS, augment
from jaxgan.nn.style import draw_noise, random_cutoff
from jaxgan.systems.stylegan2 import StyleGAN2
from tests.parity import beside
from tests.reference import stylegan2 as reference

BATCH, LATENT, LAZY, TARGET = 4, 6, 2, 0.6
SYSTEM = StyleGAN2(
    shape=(8, 8, 3),
    latent=LATENT,
    width=48,
    max_channels=8,
    mapping_layers=2,
    group=2,
    gamma=3.0,
    r1_every=LAZY,
    path_every=LAZY,
    ada_target=TARGET,
    ada_kimg=0.08,
    ada_every=2 * BATCH,
    ema_decay=0.9,
    ema_rampup=0.5,
)
SIDE = SYSTEM.shape[0]
LAYERS = 2 * len(SYSTEM.widths())
START = 0.3


@jax.jit
@jax.vmap
def _outputs(numbers, probability):
    """Of no image, and of each with one number of 1."""
    size = SIDE * SIDE * 3
    images = jnp.concatenate([jnp.zeros((1, size)), jnp.eye(size)]).reshape(-1, SIDE, SIDE, 3)
    made = augment(images, jnp.tile(numbers, (size + 1, 1)), probability)
    return made.reshape(size + 1, size)


class Peer:
    def __init__(self, generator, discriminator):
        self.g, self.d = generator, discriminator
        share = LAZY / (LAZY + 1)
        betas = tuple(beta**share for beta in (0.0, 0.99))
        self.of_g, self.of_d = (
            beside.adam(network, 2e-3 * share, betas) for network in (generator, discriminator)
        )
        self.probability, self.signs = START, []
        self.style, self.length = torch.zeros(LATENT).double(), torch.zeros(()).double()
        self.average = {name: p.clone() for name, p in generator.state_dict().items()}

    def mixed(self, key, count):
        """Styles of each layer, and noise; and the styles of the first latents."""
        one, two, cut, noise_key = jax.random.split(key, 4)
        view = beside.view_of()
        first, second = (
            self.g.styles(beside.tensors(view.draw(SYSTEM.latents(), k, count)["z"]))
            for k in (one, two)
        )
        cutoff = int(random_cutoff(cut, SYSTEM.mixing, LAYERS))
        sides = [4 << (layer + 1) // 2 for layer in range(LAYERS - 1)]
        noise = beside.tensors(draw_noise(view.keys(noise_key, count), sides))
        styles = torch.stack([(first if k < cutoff else second) for k in range(LAYERS)], 1)
        return styles, noise, first

    def judged(self, images, key):
        """Logits of augmented images."""
        keys = beside.view_of().keys(key, len(images))
        numbers = jax.vmap(lambda own: jax.random.uniform(own, (NUMBERS,)))(keys)
        probability = jnp.full(len(images), self.probability)
        outputs = torch.from_numpy(np.array(_outputs(numbers, probability))).double()
        flat = images.permute(0, 2, 3, 1).flatten(1)
        flat = torch.einsum("bi,bij->bj", flat, outputs[:, 1:] - outputs[:, :1]) + outputs[:, 0]
        return self.d(flat.unflatten(1, (SIDE, SIDE, 3)).permute(0, 3, 1, 2))

    def iterate(self, iteration, real):
        image_key, augment_key = jax.random.split(beside.key_of(iteration, 0))
        styles, noise, first = self.mixed(image_key, BATCH)
        self.style += 0.005 * (first.detach().mean(0) - self.style)
        beside.descend(
            self.of_g, F.softplus(-self.judged(self.g(styles, noise), augment_key)).mean()
        )
        if iteration % LAZY == 0:
            self.shorten(beside.key_of(iteration, 1))
        image_key, real_key, fake_key = jax.random.split(beside.key_of(iteration, 2), 3)
        with torch.no_grad():
            fake = self.g(*self.mixed(image_key, BATCH)[:2])
        logits = self.judged(real, real_key)
        self.signs.append(logits.detach().sign().mean().item())
        fake_logits = self.judged(fake, fake_key)
        beside.descend(self.of_d, F.softplus(-logits).mean(), F.softplus(fake_logits).mean())
        if iteration % LAZY == 0:
            real = real.clone().requires_grad_()
            logits = self.judged(real, beside.key_of(iteration, 3))
            (slopes,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
            penalty = slopes.square().sum((1, 2, 3)).mean()
            beside.descend(self.of_d, SYSTEM.gamma / 2 * LAZY * penalty)
        self.follow(iteration)

    def shorten(self, key):
        image_key, direction_key = jax.random.split(key)
        styles, noise, _ = self.mixed(image_key, BATCH // 2)
        keys = beside.view_of().keys(direction_key, BATCH // 2)
        normal = jax.vmap(lambda own: jax.random.normal(own, SYSTEM.shape))(keys)
        direction = beside.tensors(normal) / SIDE
        product = (self.g(styles, noise) * direction).sum()
        (slopes,) = torch.autograd.grad(product, styles, create_graph=True)
        lengths = slopes.square().sum(2).mean(1).sqrt()
        mean = self.length + 0.01 * (lengths.mean() - self.length)
        self.length = mean.detach()
        beside.descend(self.of_g, 2 * LAZY * (lengths - mean).square().mean())

    def follow(self, iteration):
        """The average, then the augmentation, after an iteration."""
        half_life = min(BATCH * np.log(0.5) / np.log(0.9), iteration * BATCH * 0.5)
        keep = 0.5 ** (BATCH / max(half_life, 1e-8))
        for name, value in self.g.state_dict().items():
            self.average[name] = keep * self.average[name] + (1 - keep) * value
        if (iteration + 1) % 2 == 0:
            by = np.sign(np.mean(self.signs) - TARGET) * 2 * BATCH / (0.08 * 1000)
            self.probability, self.signs = max(self.probability + by, 0.0), []


def test_five_iterations(rng):
    torch.manual_seed(0)
    widths = SYSTEM.widths()
    generator = reference.Generator(widths, 3, LATENT, SYSTEM.mapping_layers)
    discriminator = reference.Discriminator(widths, 3, SYSTEM.group)
    peer = Peer(generator.double(), discriminator.double())

    def ours():
        trees = (
            reference.generator_to_flax(generator),
            reference.discriminator_to_flax(discriminator),
        )
        return jax.tree.map(
            np.float32, dict(zip(("generator", "discriminator"), trees, strict=True))
        )

    params = ours()
    _, stats = jax.eval_shape(SYSTEM.init, jax.random.key(0))
    stats = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), stats)
    memory = SYSTEM.memory(jax.random.key(0))
    memory["augmentation"]["strength"] = jnp.float32(START)
    images = rng.uniform(-1, 1, (beside.ITERATIONS, BATCH, *SYSTEM.shape)).astype(np.float32)
    for iteration, real in enumerate(images):
        peer.iterate(iteration, beside.tensors(real))
    state = beside.train(SYSTEM, params, stats, [{"image": x} for x in images], memory=memory)

    after = ours()
    beside.assert_updates(state.params, after, params)
    np.testing.assert_allclose(
        state.stats["generator"]["average"]["mapping"]["style"], peer.style, rtol=1e-3, atol=1e-6
    )
    np.testing.assert_allclose(state.memory["path_length"], peer.length, rtol=1e-3)
    strength = float(state.memory["augmentation"]["strength"])
    assert strength != START
    np.testing.assert_allclose(strength, peer.probability, rtol=1e-5)
    generator.load_state_dict(peer.average)
    beside.assert_updates(
        state.ema["generator"]["params"], ours()["generator"], params["generator"]
    )
