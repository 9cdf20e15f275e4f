import numpy as np
import torch

from jaxgan.nn.recurrent import ConvLSTMCell, GRUCell
from tests.reference.port import images_from_torch, images_to_torch, to_flax


@torch.no_grad()
def test_gru_cell_is_torchs(rng):
    theirs = torch.nn.GRUCell(3, 4)
    x, h = (rng.normal(size=(5, n)).astype(np.float32) for n in (3, 4))
    params = {
        ours: {
            "kernel": getattr(theirs, f"weight_{kind}").numpy().T,
            "bias": getattr(theirs, f"bias_{kind}").numpy(),
        }
        for ours, kind in (("input", "ih"), ("hidden", "hh"))
    }
    made = GRUCell(4).apply({"params": params}, x, h)
    expected = theirs(torch.from_numpy(x), torch.from_numpy(h))
    np.testing.assert_allclose(made, expected, atol=1e-6)


def test_a_shut_update_gate_keeps_the_state(rng):
    h = rng.normal(size=(2, 3)).astype(np.float32)
    zeros = {"kernel": np.zeros((3, 9)), "bias": np.repeat([0.0, 50.0, 0.0], 3)}
    params = {"input": zeros, "hidden": {**zeros, "bias": np.zeros(9)}}
    np.testing.assert_array_equal(GRUCell(3).apply({"params": params}, h, h), h)


class TorchConvLSTM(torch.nn.Module):
    """One step of Shi et al. 2015, without peepholes; gates i, f, o, g."""

    def __init__(self, inputs, features):
        super().__init__()
        self.gates = torch.nn.Conv2d(inputs + features, 4 * features, 3, padding=1)

    def forward(self, x, h, memory):
        i, f, o, g = self.gates(torch.cat([x, h], 1)).chunk(4, 1)
        memory = f.sigmoid() * memory + i.sigmoid() * g.tanh()
        return o.sigmoid() * memory.tanh(), memory


@torch.no_grad()
def test_conv_lstm_is_torchs(rng):
    theirs = TorchConvLSTM(2, 3)
    clip = rng.normal(size=(4, 2, 5, 6, 2)).astype(np.float32)
    cell, state = ConvLSTMCell(3), None
    h = memory = torch.zeros(2, 3, 5, 6)
    for frame in clip:
        state = cell.apply(to_flax(theirs), frame, state)
        h, memory = theirs(images_to_torch(frame), h, memory)
        for ours, other in zip(state, (h, memory), strict=True):
            np.testing.assert_allclose(ours, images_from_torch(other), atol=1e-6)


def test_an_open_forget_gate_and_a_shut_input_gate_keep_the_memory(rng):
    memory = rng.normal(size=(1, 3, 3, 2)).astype(np.float32)
    gates = {"kernel": np.zeros((3, 3, 4, 8)), "bias": np.repeat([-50.0, 50.0, 0.0, 0.0], 2)}
    params = {"params": {"gates": gates}}
    _, kept = ConvLSTMCell(2).apply(params, memory, (memory, memory))
    np.testing.assert_allclose(kept, memory, rtol=1e-6)
