"""Chips by the names that JAX gives their devices."""

import types

import pytest

from jaxgan.parallel.hardware import CHIPS, chip_of


@pytest.mark.parametrize(
    ("kind", "chip", "devices"),
    [
        ("TPU v3", "tpu v3", 2),
        ("TPU v4", "tpu v4", 1),
        ("TPU v5 lite", "tpu v5e", 1),
        ("TPU v5", "tpu v5p", 1),
        ("TPU v5p", "tpu v5p", 1),
        ("NVIDIA H100 80GB HBM3", "gpu h100", 1),
        ("NVIDIA H200", "gpu h200", 1),
    ],
)
def test_devices_are_known_by_their_kind(kind, chip, devices):
    found = chip_of(types.SimpleNamespace(device_kind=kind))
    assert found is not None
    assert found.flops * devices == CHIPS[chip].flops
    assert found.memory * devices == CHIPS[chip].memory
    assert found.bandwidth * devices == CHIPS[chip].bandwidth
    assert found.links * devices == CHIPS[chip].links


def test_a_cpu_is_not_known():
    assert chip_of(types.SimpleNamespace(device_kind="cpu")) is None
