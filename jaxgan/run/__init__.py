"""Runs on disk: their folder, opening and training them."""

from jaxgan.run.open import Run, open_run
from jaxgan.run.train import train

__all__ = ["Run", "open_run", "train"]
