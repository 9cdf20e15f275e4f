"""Activations without kinks, on both sides."""

import flax.linen
import pytest
import torch


@pytest.fixture(autouse=True)
def smooth(monkeypatch):
    """Rectifiers are x * sigmoid(x), in our networks and in PyTorch's.

    At a kink, of which an iteration meets millions, rounding becomes a difference of one pixel's
    whole gradient, and Adam makes full steps of it. Forward passes with rectifiers are compared in
    tests/systems and tests/convert.
    """
    torch.set_num_threads(1)

    silu, ours = torch.nn.functional.silu, flax.linen.silu

    def leaky(x, slope, silu):
        return slope * x + (1 - slope) * silu(x)

    monkeypatch.setattr(flax.linen, "relu", ours)
    monkeypatch.setattr(flax.linen, "leaky_relu", lambda x, slope: leaky(x, slope, ours))
    monkeypatch.setattr(torch.nn.functional, "relu", lambda x, inplace=False: silu(x))
    monkeypatch.setattr(
        torch.nn.functional, "leaky_relu", lambda x, slope, inplace=False: leaky(x, slope, silu)
    )
