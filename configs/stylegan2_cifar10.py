"""StyleGAN2 with adaptive augmentation on CIFAR-10, without labels.

Expected: Frechet Inception distance 2.92, published by Karras et al. 2020 ("Training Generative
Adversarial Networks with Limited Data", table in figure 11; best of their runs).
Hardware: one GPU; a guess: a week on an A100.

    jaxgan train configs/stylegan2_cifar10.py
"""

from jaxgan.config import Checkpoint, Data, Experiment, Log
from jaxgan.systems.stylegan2 import StyleGAN2

config = Experiment(
    system=StyleGAN2(
        shape=(32, 32, 3),
        mapping_layers=2,
        discriminator_architecture="orig",
        group=32,
        mixing=0.0,
        learning_rate=2.5e-3,
        gamma=0.01,
        path_weight=0.0,
        ada_target=0.6,
        ema_decay=0.5 ** (64 / 500_000),
        ema_rampup=0.05,
    ),
    data=Data(source="tfds:cifar10", flip=False),
    batch=64,
    steps=1_562_500,
    checkpoint=Checkpoint(every=5000),
    log=Log(every=200, samples=5000),
)
