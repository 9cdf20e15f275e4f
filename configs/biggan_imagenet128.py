"""BigGAN on ImageNet at 128x128, all 1,000 classes, as in the paper: two discriminator updates.

Expected: Inception score 98.8 and a Frechet distance of 8.7 without truncation, published by Brock
et al. 2019, just before training collapses: keep checkpoints.
Hardware: the authors trained on 128 cores of a TPU v3 pod, for about a day.

    jaxgan train configs/biggan_imagenet128.py
    jaxgan sample runs/biggan_imagenet128 --truncation 0.5 --standing-statistics 16 --out half.png
"""

from jaxgan.config import Checkpoint, Data, Experiment
from jaxgan.systems.biggan import BigGAN

config = Experiment(
    system=BigGAN(dtype="bfloat16"),
    data=Data(source="tfds:imagenet2012", resize=True, flip=True),
    batch=2048,
    steps=250_000,
    checkpoint=Checkpoint(keep=10),
)
