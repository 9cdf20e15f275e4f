"""Small systems whose every step can be computed by hand, for tests of the engine."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from jaxgan import losses
from jaxgan.fields import Points
from jaxgan.nn.layers import Dense
from jaxgan.nn.norm import BatchNorm
from jaxgan.nn.spectral import SpectralNorm
from jaxgan.system import Player, Pretrained, Stage, System
from jaxgan.systems.common.generative import Generative, duel


class Number(nn.Module):
    """One parameter, `x`, times the input."""

    start: float

    @nn.compact
    def __call__(self, scale, *, train):
        return scale * self.param("x", nn.initializers.constant(self.start), ())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Numbers(System):
    """Two numbers, a and b, moved by the players that a test gives."""

    players: tuple[Player, ...] = ()
    decays: tuple[tuple[str, float], ...] = ()

    def data(self):
        return ({"image": Points()},)

    def uses(self):
        return {}

    def networks(self):
        return {"a": Number(1.0), "b": Number(2.0)}

    def inputs(self):
        return {"a": (jnp.zeros(1),), "b": (jnp.zeros(1),)}

    def stages(self):
        return (Stage(players=self.players),)

    def ema(self):
        return dict(self.decays)


class Generator(nn.Module):
    width: int
    norm: bool

    @nn.compact
    def __call__(self, z, *, train):
        h = Dense(self.width, inert_bias=self.norm, name="hidden")(z)
        if self.norm:
            h = BatchNorm(name="norm")(h, train=train)
        return Dense(2, name="out")(nn.relu(h))


class Discriminator(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x, *, train):
        h = nn.leaky_relu(Dense(self.width, reparam=SpectralNorm, name="hidden")(x), 0.2)
        return Dense(1, reparam=SpectralNorm, name="out")(h)[:, 0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TinyGAN(Generative):
    """A GAN on points: batch norm in G, spectral norm in D, an average of G."""

    shape: tuple[int, ...] = (2,)
    latent: int = 4
    width: int = 8
    norm: bool = True
    repeats: int = 1
    learning_rate: float = 1e-2

    def networks(self):
        return {
            "generator": Generator(self.width, self.norm),
            "discriminator": Discriminator(self.width),
        }

    def ema(self):
        return {"generator": 0.9}

    def stages(self):
        adam = optax.adam(self.learning_rate, b1=0.5)
        return (
            duel(
                discriminator=self.discriminator_loss,
                generator=self.generator_loss,
                discriminator_optimizer=adam,
                generator_optimizer=adam,
                updates=self.repeats,
                writes=("discriminator",),
            ),
        )

    def fake(self, view, batch, key):
        return self.fakes(view, key, len(batch["image"]))[0]

    def discriminator_loss(self, view, batch, key):
        real = view("discriminator", batch["image"])
        fake = view("discriminator", self.fake(view, batch, key))
        return losses.hinge.discriminator(real, fake), {"real_logits": real.mean()}

    def generator_loss(self, view, batch, key):
        return losses.hinge.generator(view("discriminator", self.fake(view, batch, key))), {}


class Guide(nn.Module):
    """A published network: how far points lie from where it was told."""

    @nn.compact
    def __call__(self, x, *, train):
        assert not train
        return jnp.square(x - self.param("middle", nn.initializers.zeros, (2,))).sum(-1)


GUIDE = {"params": {"middle": np.array([3.0, -3.0], np.float32)}}  # one, as a cache would have it


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guided(TinyGAN):
    """TinyGAN, whose generator also minimises what a pretrained network says of its points."""

    weight: float = 1.0

    def pretrained(self):
        return {"guide": Pretrained(module=Guide(), load=lambda: GUIDE, sha256="0" * 64)}

    def inputs(self):
        return {**super().inputs(), "guide": (jnp.zeros((1, 2)),)}

    def generator_loss(self, view, batch, key):
        fake = self.fake(view, batch, key)
        guidance = view("guide", fake).mean()
        loss = losses.hinge.generator(view("discriminator", fake)) + self.weight * guidance
        return loss, {"guidance": guidance}


@dataclasses.dataclass(frozen=True, kw_only=True)
class StagedGAN(TinyGAN):
    """TinyGAN in two stages; the second has a smaller batch and enters by halving G's weights."""

    first: int = 4

    def stages(self):
        (stage,) = super().stages()
        return (
            dataclasses.replace(stage, steps=self.first),
            dataclasses.replace(stage, batch=8, enter=self.enter),
        )

    def enter(self, state, batch, key):
        halved = jax.tree.map(lambda x: x / 2, state.params["generator"])
        return state.replace(params={**state.params, "generator": halved})
