"""BigGAN on CIFAR-10 at the paper's width, with shared embedding, hierarchical latents, attention.

Expected: Inception score 9.22 and a Frechet distance of 14.73, published by Brock et al. 2019
(appendix C.2), who say no more of this network than that it is BigGAN for 32 pixels.
Hardware: one GPU; a guess: two days on an A100. On a TPU add `--system.dtype bfloat16`.

    jaxgan train configs/biggan_cifar10_paper.py
"""

from jaxgan.config import Data, Experiment
from jaxgan.systems.biggan import BigGAN

config = Experiment(
    system=BigGAN(
        shape=(32, 32, 3),
        classes=10,
        latent=80,
        generator_attention=(16,),
        discriminator_attention=(16,),
        generator_rate=2e-4,
        discriminator_rate=2e-4,
        discriminator_updates=4,
        ema_start=1000,
    ),
    data=Data(source="tfds:cifar10", flip=True),
    batch=64,
    steps=125_000,
)
