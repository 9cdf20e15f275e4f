"""BigGAN-deep on ImageNet at 256x256, all 1,000 classes.

Expected: Inception score 171.4 and a Frechet distance of 6.9 without truncation, published by Brock
et al. 2019.
Hardware: the authors trained on 256 cores of a TPU v3 pod, for about two days.

    jaxgan train configs/biggan_deep_imagenet256.py
"""

from jaxgan.config import Checkpoint, Data, Experiment
from jaxgan.systems.biggan_deep import BigGANDeep

config = Experiment(
    system=BigGANDeep(
        shape=(256, 256, 3),
        generator_rate=2.5e-5,
        discriminator_rate=2.5e-5,
        dtype="bfloat16",
    ),
    data=Data(source="tfds:imagenet2012", resize=True, flip=True),
    batch=2048,
    steps=250_000,
    checkpoint=Checkpoint(keep=10),
)
