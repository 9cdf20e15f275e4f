"""Parts of the PyPI package torch-fidelity that need PyTorch alone.

Importing the package itself also imports torchvision, which has to be of the same build as PyTorch.
"""

import importlib
import importlib.util
import sys
from types import ModuleType

import torch

_PACKAGE = "torch_fidelity"


def submodule(name: str) -> ModuleType:
    """torch_fidelity.NAME, imported without running the package's __init__."""
    if _PACKAGE in sys.modules:
        return importlib.import_module(f"{_PACKAGE}.{name}")
    package = ModuleType(_PACKAGE)
    package.__path__ = list(importlib.util.find_spec(_PACKAGE).submodule_search_locations)
    sys.modules[_PACKAGE] = package
    try:
        return importlib.import_module(f"{_PACKAGE}.{name}")
    finally:  # whoever wants the whole package gets it
        for key in [key for key in sys.modules if key.partition(".")[0] == _PACKAGE]:
            del sys.modules[key]


def inception(monkeypatch) -> torch.nn.Module:
    """torch-fidelity's Inception-v3 with the weights of PyTorch's initialisation."""
    module = submodule("feature_extractor_inceptionv3")
    network = module.FeatureExtractorInceptionV3
    monkeypatch.setattr(module, "load_state_dict_from_url", lambda *_, **__: {})
    monkeypatch.setattr(network, "load_state_dict", lambda *_: None)
    return network("inception-v3-compat", ["2048", "logits_unbiased"])
