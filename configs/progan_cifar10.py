"""ProGAN on CIFAR-10, without labels, at 32 pixels.

Expected: Inception score 8.80, published by Karras et al. 2018 (table 3, their best run).
Hardware: one GPU; a guess: a day on an A100.

The penalty aims at gradients of norm 750 (appendix A.1).

    jaxgan train configs/progan_cifar10.py
"""

from jaxgan.config import Checkpoint, Data, Experiment, Log
from jaxgan.systems.progan import ProGAN

SYSTEM = ProGAN(shape=(32, 32, 3), batches=(128, 128, 128, 64), rates=(1e-3,) * 4, slope=750.0)

config = Experiment(
    system=SYSTEM,
    data=Data(source="tfds:cifar10"),
    batch=64,
    steps=SYSTEM.iterations(12_000),
    checkpoint=Checkpoint(every=5000),
    log=Log(every=200, samples=5000),
)
