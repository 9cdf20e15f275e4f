"""Small runs with what tools of `jaxgan/latent` need: styles, labels, stages that grow."""

import dataclasses
import io

import jax
import numpy as np
from rich.console import Console

from jaxgan import Data, Experiment, Log, Mesh
from jaxgan.config import to_json
from jaxgan.parallel.mesh import make_mesh
from jaxgan.run import Run, train
from jaxgan.run import folder as files
from jaxgan.systems.gan import GAN
from jaxgan.systems.stylegan2 import StyleGAN2
from jaxgan.training.step import init

STYLED = StyleGAN2(
    shape=(16, 16, 1), latent=8, width=128, max_channels=8, mapping_layers=2, ema_decay=0.0
)
LABELLED = dataclasses.replace(STYLED, shape=(8, 8, 3), classes=3)
MLP = GAN(shape=(8, 8, 1), latent=8, generator_hidden=(32,), discriminator_hidden=(8,))


def untrained(system, folder, *, seed=0, devices=1, source="digits"):
    """A run whose State is that of the start, but moved, so that noise and biases count."""
    experiment = Experiment(system=system, data=Data(source=source), batch=8, steps=1)
    folder.mkdir(parents=True)
    (folder / files.CONFIG).write_text(to_json(experiment))
    run = Run(folder, trust_code=True)
    rng = np.random.default_rng(seed)
    state = init(system, mesh=make_mesh(devices) if devices > 1 else None)

    def move(path, x):
        # Images stay within [-1, 1], so that samples lose nothing as bytes.
        scale = 0.35 if "rgb" in jax.tree_util.keystr(path) else 1.0
        by = 0.2 * rng.normal(size=x.shape).astype(x.dtype)
        return jax.device_put(scale * (np.asarray(x) + by), x.sharding)

    moved = jax.tree_util.tree_map_with_path(move, state.params)
    run.__dict__["stored"] = dataclasses.replace(state, params=moved)
    return run


def trained(system, folder, *, source="digits", steps=1, **how):
    """A run that lies on disk, for commands."""
    experiment = Experiment(
        system=system,
        data=Data(source=source, resize=True),
        batch=8,
        steps=steps,
        mesh=Mesh(data=1),
        log=Log(grid=2),
        **how,
    )
    return train(experiment, folder, console=Console(file=io.StringIO()))
