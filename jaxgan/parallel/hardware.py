"""What chips can do, as their vendors state it."""

import dataclasses
from typing import Any

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """A chip, or, of TPU v2 and v3, one of its two cores.

    Attributes:
        flops: bfloat16 operations a second, dense.
        memory: bytes.
        bandwidth: bytes a second of that memory.
        links: bytes a second to other chips, over all its links and in each direction.
    """

    flops: float
    memory: float
    bandwidth: float
    links: float

    def __truediv__(self, devices: float) -> "Chip":
        """The part of a chip that one of its devices has."""
        return Chip(*(value / devices for value in dataclasses.astuple(self)))


# Whole chips. https://cloud.google.com/tpu/docs/system-architecture-tpu-vm and the pages of each
# version; NVIDIA's data sheets, SXM.
# Links: Google's pages of v5e, v5p and v6e state "bidirectional inter-chip interconnect bandwidth"
# (400, 1,200 and 800 GB/s), of which half goes each way: an all-reduce bandwidth of 51.2 TB/s is
# stated for 256 v5e. Those of v2 to v4 name papers: Jouppi et al., "A domain-specific supercomputer
# for training deep neural networks", CACM 2020 (v2 four links of 496 Gbit/s, v3 of 656), and "TPU
# v4", arXiv:2304.01433 (six of 50 GB/s). NVLink's 600 and 900 GB/s, too, count both directions.
CHIPS = {
    "tpu v2": Chip(45e12, 16 * GIB, 700e9, 248e9),
    "tpu v3": Chip(123e12, 32 * GIB, 900e9, 328e9),
    "tpu v4": Chip(275e12, 32 * GIB, 1228e9, 300e9),
    "tpu v5e": Chip(197e12, 16 * GIB, 819e9, 200e9),
    "tpu v5p": Chip(459e12, 95 * GIB, 2765e9, 600e9),
    "tpu v6e": Chip(918e12, 32 * GIB, 1640e9, 400e9),
    "gpu a100": Chip(312e12, 80e9, 2039e9, 300e9),
    "gpu h100": Chip(989e12, 80e9, 3350e9, 450e9),
    "gpu h200": Chip(989e12, 141e9, 4800e9, 450e9),
}

# A word of the kind that JAX's device names, the chip, and how many devices share it.
_KINDS = [
    ("TPU v2", "tpu v2", 2),
    ("TPU v3", "tpu v3", 2),
    ("TPU v4", "tpu v4", 1),
    ("TPU v5 lite", "tpu v5e", 1),
    ("TPU v5", "tpu v5p", 1),
    ("TPU v6 lite", "tpu v6e", 1),
    ("A100", "gpu a100", 1),
    ("H100", "gpu h100", 1),
    ("H200", "gpu h200", 1),
]


def chip_of(device: Any) -> Chip | None:
    """What a device can do; None for CPUs and chips that are not known."""
    kind = device.device_kind
    return next((CHIPS[name] / share for word, name, share in _KINDS if word in kind), None)
