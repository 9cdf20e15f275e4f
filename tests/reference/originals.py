"""What tests of imported checkpoints share: random networks in files, and what they compute."""

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

from jaxgan import View, convert
from tests.reference.port import images_from_torch, images_to_torch
from tests.using import call


@torch.no_grad()
def scattered(network: nn.Module, seed: int = 0) -> nn.Module:
    """Evaluation mode, with statistics, gains and gates away from the identity."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        last = name.rpartition(".")[2]
        if last in ("running_var", "stored_var") or (
            last in ("weight", "gain") and tensor.ndim == 1
        ):
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
        elif last in ("running_mean", "stored_mean", "gamma", "bias"):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) - 0.5)
    return network.eval()


def saved(network: nn.Module, path) -> str:
    """The path of a file with the network's state."""
    torch.save(network.state_dict(), path)
    return str(path)


def view_of(converted: convert.Converted) -> View:
    """Its networks, as they are evaluated."""
    params, stats = jax.tree.map(jnp.asarray, (converted.params, converted.stats))
    return View(converted.system.networks(), params, stats, train=False)


def draw(converted: convert.Converted, latents, labels=None) -> np.ndarray:
    """Images [b, h, w, c] of an imported generator."""
    system, view = converted.system, view_of(converted)
    given = {"z": latents} | ({} if labels is None else {"label": labels})
    return np.asarray(jax.jit(lambda given: call(system, view, **given)["image"])(given))


def judge(converted: convert.Converted, images, *labels) -> np.ndarray:
    """Logits [b] of an imported discriminator."""
    view = view_of(converted)
    out = jax.jit(lambda *inputs: view("discriminator", *inputs))(images, *labels)
    return np.asarray(out[0] if isinstance(out, tuple) else out)


@torch.no_grad()
def torch_draw(network: nn.Module, latents, *labels) -> np.ndarray:
    """Images [b, h, w, c] of PyTorch's generator."""
    out = network(torch.from_numpy(latents), *(torch.from_numpy(y) for y in labels))
    return images_from_torch(out[0] if isinstance(out, tuple) else out)


@torch.no_grad()
def torch_judge(network: nn.Module, images, *labels) -> np.ndarray:
    """Logits [b] of PyTorch's discriminator."""
    out = network(images_to_torch(images), *(torch.from_numpy(y) for y in labels))
    return (out[0] if isinstance(out, tuple) else out).numpy()


def inputs(rng, system, count: int = 3):
    """(latents, images, labels) that fit a system."""
    return (
        rng.normal(size=(count, system.latent)).astype(np.float32),
        rng.uniform(-1, 1, (count, *system.shape)).astype(np.float32),
        rng.integers(0, max(1, getattr(system, "classes", 0)), count).astype(np.int32),
    )
