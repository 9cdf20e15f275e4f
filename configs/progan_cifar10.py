"""ProGAN on CIFAR-10, without labels, at 32 pixels.

Expected: Inception score 8.80, published by Karras et al. 2018 (table 3, their best run).
Hardware: one GPU; a guess: a day on an A100.

The networks are smaller than those for megapixels, minibatch standard deviation is taken over whole
batches, and the penalty aims at gradients of norm 750 (appendix A.1), as in the authors' code; but
there both networks are updated at once.

    jaxgan train configs/progan_cifar10.py
"""

from jaxgan.config import Checkpoint, Data, Experiment, Log
from jaxgan.systems.progan import ProGAN

SYSTEM = ProGAN(
    shape=(32, 32, 3),
    latent=128,
    width=8192,
    max_channels=128,
    batches=(16,) * 4,
    rates=(1e-3,) * 4,
    fade_kimg=400.0,
    train_kimg=400.0,
    group=16,
    slope=750.0,
)

config = Experiment(
    system=SYSTEM,
    data=Data(source="tfds:cifar10"),
    batch=16,
    steps=SYSTEM.iterations(20_000),
    checkpoint=Checkpoint(every=10_000),
    log=Log(every=500, samples=20_000),
)
