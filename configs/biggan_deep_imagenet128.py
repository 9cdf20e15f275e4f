"""BigGAN-deep on ImageNet at 128x128, all 1,000 classes.

Expected: Inception score 124.5 and a Frechet distance of 5.7 without truncation, published by Brock
et al. 2019.
Hardware: the authors trained on 128 cores of a TPU v3 pod, for about two days.

    jaxgan train configs/biggan_deep_imagenet128.py
"""

from jaxgan.config import Checkpoint, Data, Experiment
from jaxgan.systems.biggan_deep import BigGANDeep

config = Experiment(
    system=BigGANDeep(dtype="bfloat16"),
    data=Data(source="tfds:imagenet2012", resize=True, flip=True),
    batch=2048,
    steps=250_000,
    checkpoint=Checkpoint(keep=10),
)
