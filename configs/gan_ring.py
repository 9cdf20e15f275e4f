"""The GAN of 2014 on eight Gaussians on a circle: does it find all modes?

Expected: points at all eight centres in unequal shares, within a minute.
Hardware: a laptop's CPU.

    jaxgan train configs/gan_ring.py

Try another game: `--system.loss saturating`, `--system.loss f_gan_kl`; or `--data grid`.
"""

from jaxgan.config import Data, Experiment
from jaxgan.systems.gan import GAN

config = Experiment(
    system=GAN(
        shape=(2,),
        latent=2,
        generator_hidden=(128, 128),
        discriminator_hidden=(128, 128),
        batch_norm=False,
        output="linear",
        learning_rate=1e-3,
        ema_decay=0.999,
    ),
    data=Data(source="ring"),
    batch=512,
    steps=16_000,
)
