"""SNGAN with residual networks on CIFAR-10, without labels.

Expected: Inception score 8.22 +- 0.05 and a Frechet distance of 21.7 (5,000 generated against
10,000 test images), published by Miyato et al. 2018 (table 2).
Hardware: one GPU; a guess: five hours on an A100.

    jaxgan train configs/sngan_cifar10.py
"""

from jaxgan.config import Data, Experiment
from jaxgan.systems.sngan import SNGAN

config = Experiment(
    system=SNGAN(decay=(0, 50_000)),
    data=Data(source="tfds:cifar10"),
    batch=64,
    steps=50_000,
)
