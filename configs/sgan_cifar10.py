"""SGAN on CIFAR-10, with labels.

Expected: an Inception score of 8.59 (the paper; 50,000 images).
Hardware: one GPU; a guess: three days on an A100.

    jaxgan train configs/sgan_cifar10.py

As the authors' code, 190 epochs of each generator alone and 200 of both together, at one to seven
updates of the generators an iteration. The generators minimise -log D, as in the paper; the code's
are trained with `--system.loss saturating`.
"""

from jaxgan.config import Data, Experiment
from jaxgan.systems.sgan import KWaySGAN

config = Experiment(
    system=KWaySGAN(encoder_steps=10_000, upper_steps=95_000, lower_steps=95_000),
    data=Data(source="tfds:cifar10"),
    batch=100,
    steps=300_000,
)
