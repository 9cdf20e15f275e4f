"""BigGAN on ImageNet at 512x512, all 1,000 classes.

Expected: Inception score 144.2 and a Frechet distance of 8.1 without truncation, published by Brock
et al. 2019.
Hardware: the authors trained on 512 cores of a TPU v3 pod, for about two days.

    jaxgan train configs/biggan_imagenet512.py
"""

from jaxgan.config import Checkpoint, Data, Experiment
from jaxgan.systems.biggan import BigGAN

config = Experiment(
    system=BigGAN(
        shape=(512, 512, 3),
        latent=160,
        equal_shortcuts=False,
        dtype="bfloat16",
    ),
    data=Data(source="tfds:imagenet2012", resize=True, flip=True),
    batch=2048,
    steps=250_000,
    checkpoint=Checkpoint(keep=10),
)
