"""BigGAN on ImageNet at 128x128 on one large GPU: eight micro-batches of 256 an update.

The settings of ajbrock's launch script for batch 2048: one discriminator update, larger steps.
Batch norm sees 256 images at a time there, too.

Expected: Inception score 97.35 +- 1.79 before training collapses, published with that code.
Hardware: one GPU of 80 GB; a guess: months. More of them divide the time: the same command uses all
GPUs of a machine. That code ran on eight V100s for about two weeks.

    jaxgan train configs/biggan_imagenet128_gpu.py
"""

from jaxgan.config import Checkpoint, Data, Experiment
from jaxgan.systems.biggan import BigGAN

config = Experiment(
    system=BigGAN(
        generator_rate=1e-4,
        discriminator_rate=4e-4,
        discriminator_updates=1,
        remat=True,
        dtype="bfloat16",
    ),
    data=Data(source="tfds:imagenet2012", resize=True, flip=True),
    batch=2048,
    micro=8,
    steps=140_000,
    checkpoint=Checkpoint(keep=10),
)
