"""BigGAN on CIFAR-10 in its widespread small form, class by class, without attention.

The settings of ajbrock's launch_cifar: no shared embedding, no hierarchical latents, four updates
of the discriminator. 125,000 iterations are its 500 epochs.

Expected: that code publishes no score for it. For a larger network with shared embedding and
hierarchical latents see `biggan_cifar10_paper.py`.
Hardware: one GPU; a guess: a day on an A100.

    jaxgan train configs/biggan_cifar10.py
"""

from jaxgan.config import Data, Experiment
from jaxgan.systems.biggan import BigGAN

config = Experiment(
    system=BigGAN(
        shape=(32, 32, 3),
        classes=10,
        channels=64,
        latent=128,
        shared=0,
        hierarchical=False,
        generator_attention=(),
        discriminator_attention=(),
        weights="normal",
        spectral_epsilon=1e-8,
        generator_rate=2e-4,
        discriminator_rate=2e-4,
        adam_epsilon=1e-8,
        discriminator_updates=4,
        ema_start=1000,
    ),
    data=Data(source="tfds:cifar10", flip=True),
    batch=50,
    steps=125_000,
)
