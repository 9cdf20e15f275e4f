"""Modules of torch-fidelity and pytorch-fid, which are compared with and installed for no test."""

import importlib
import sys
from types import ModuleType
from unittest import mock

import torch

_TORCHVISION = ("", ".datasets", ".models", ".transforms", ".transforms.functional")


def module(name: str) -> ModuleType:
    """PACKAGE.MODULE with a stand-in for torchvision, of which nothing here is used.

    The real one has to be of the same build as PyTorch, and PyPI has none for CPUs alone.
    """
    package = name.partition(".")[0]
    before = _of(package)
    _remove(before)
    sys.modules.update((f"torchvision{part}", mock.MagicMock()) for part in _TORCHVISION)
    try:
        return importlib.import_module(name)
    finally:
        _remove(_of(package))
        sys.modules.update(before)


def inception() -> torch.nn.Module:
    """torch-fidelity's Inception-v3 with the weights of PyTorch's initialisation."""
    found = module("torch_fidelity.feature_extractor_inceptionv3")
    network = found.FeatureExtractorInceptionV3
    with (
        mock.patch.object(found, "load_state_dict_from_url", return_value={}),
        mock.patch.object(network, "load_state_dict"),
    ):
        return network("inception-v3-compat", ["2048", "logits_unbiased"]).eval()


def _of(package: str) -> dict[str, ModuleType]:
    tops = (package, "torchvision")
    return {key: found for key, found in sys.modules.items() if key.partition(".")[0] in tops}


def _remove(modules: dict[str, ModuleType]) -> None:
    for key in modules:
        del sys.modules[key]
