import numpy as np
import torch

from jaxgan.nn.recurrent import GRUCell


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
