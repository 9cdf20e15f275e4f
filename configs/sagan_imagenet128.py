"""SAGAN of residual networks on ImageNet at 128x128, all 1,000 classes.

Expected: Inception score 52.52, Frechet distance 18.65, intra-class Frechet distance 83.7,
published by Zhang et al. 2019 (table 1).
Hardware: four GPUs, as the authors had; a guess: two weeks on V100s. On a TPU add
`--system.dtype bfloat16`.

    jaxgan train configs/sagan_imagenet128.py
"""

from jaxgan.config import Data, Experiment
from jaxgan.systems.sagan128 import SAGANResNet

config = Experiment(
    system=SAGANResNet(),
    data=Data(source="tfds:imagenet2012", resize=True, flip=True),
    batch=256,
    steps=1_000_000,
)
