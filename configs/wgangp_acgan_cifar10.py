"""WGAN-GP with residual networks and an auxiliary classifier on CIFAR-10, with labels.

Expected: Inception score 8.42 +- 0.10, published by Gulrajani et al. 2017 (table 3).
Hardware: one GPU; a guess: ten hours on an A100.

    jaxgan train configs/wgangp_acgan_cifar10.py
"""

from jaxgan.config import Data, Experiment
from jaxgan.systems.wgan_gp import ResNetWGANGP

config = Experiment(
    system=ResNetWGANGP(classes=10, decay=(0, 100_000)),
    data=Data(source="tfds:cifar10"),
    batch=64,
    steps=100_000,
)
