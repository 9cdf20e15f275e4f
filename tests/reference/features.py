"""Scores as torch-fidelity and pytorch-fid compute them from features."""

import importlib
import importlib.util
import sys
from types import ModuleType
from unittest import mock

import pytest

_TORCHVISION = ("", ".datasets", ".models", ".transforms", ".transforms.functional")


def module(name: str) -> ModuleType:
    """PACKAGE.MODULE with a stand-in for torchvision, which only the packages' networks need.

    The real one has to be of the same build as PyTorch, and PyPI has none for CPUs alone.
    """
    package = name.partition(".")[0]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    before = _of(package)
    _remove(before)
    sys.modules.update((f"torchvision{part}", mock.MagicMock()) for part in _TORCHVISION)
    try:
        return importlib.import_module(name)
    finally:
        _remove(_of(package))
        sys.modules.update(before)


def _of(package: str) -> dict[str, ModuleType]:
    tops = (package, "torchvision")
    return {key: found for key, found in sys.modules.items() if key.partition(".")[0] in tops}


def _remove(modules: dict[str, ModuleType]) -> None:
    for key in modules:
        del sys.modules[key]
