"""SNGAN with a projection discriminator on ImageNet at 128x128, all 1,000 classes.

Expected: Inception score 29.7 and an intra-class Frechet distance of 103.1 after 450,000
iterations; 36.8 and 92.4 after 850,000. Published by the authors with their code.
Hardware: four GPUs, as the authors had; a guess: ten days on V100s.

    jaxgan train configs/sngan_projection_imagenet128.py
"""

from jaxgan.config import Data, Experiment
from jaxgan.systems.sngan import SNGAN

config = Experiment(
    system=SNGAN(
        shape=(128, 128, 3),
        classes=1000,
        generator_channels=(1024, 1024, 512, 256, 128, 64),
        discriminator_channels=(64, 128, 256, 512, 1024, 1024),
        halvings=5,
        last_bias=True,
        decay=(400_000, 450_000),
    ),
    data=Data(source="tfds:imagenet2012", resize=True, flip=True),
    batch=64,
    steps=450_000,
)
