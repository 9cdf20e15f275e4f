"""A generator whose units are known: unit k paints channel k, the last one nothing."""

import dataclasses
import io
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from rich.console import Console

from jaxgan import Data, Experiment, Log, Mesh
from jaxgan.nn.layers import Dense
from jaxgan.run import train
from tests.toys import TinyGAN

SIDE, UNITS = 8, 4


class Maps(nn.Module):
    """Latents as maps: every place of every unit is a number of the latent."""

    @nn.compact
    def __call__(self, z):
        return z.reshape(-1, SIDE, SIDE, UNITS)


class Paint(nn.Module):
    """The first units are the image's channels, enlarged by whole pixels."""

    channels: int
    zoom: int

    @nn.compact
    def __call__(self, maps):
        x = maps[..., : self.channels]
        return x.repeat(self.zoom, 1).repeat(self.zoom, 2)


class Painter(nn.Module):
    channels: int
    zoom: int

    @nn.compact
    def __call__(self, z, *, train):
        maps = Maps(name="maps")(z)
        image = Paint(self.channels, self.zoom, name="paint")(maps)
        return image * self.param("gain", nn.initializers.ones, ())


class Judge(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        return Dense(1, name="out")(x.reshape(len(x), -1))[:, 0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Painting(TinyGAN):
    shape: tuple[int, ...] = (SIDE, SIDE, 3)
    latent: int = SIDE * SIDE * UNITS
    zoom: int = 1

    def networks(self) -> dict[str, Any]:
        return {"generator": Painter(self.shape[-1], self.zoom), "discriminator": Judge()}

    def init(self, key):
        params, stats = super().init(key)
        params["generator"] = {"gain": jnp.ones(())}
        return params, stats


def painted(folder, system, **options):
    """A run of such a system, as it begins; of the digits of `folder`, which has any images."""
    experiment = Experiment(
        system=system,
        data=Data(source="image:china", resize=True),
        batch=2,
        steps=1,
        mesh=Mesh(data=1),
        log=Log(grid=2),
        **options,
    )
    return train(experiment, folder, console=Console(file=io.StringIO()))
