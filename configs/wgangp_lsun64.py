"""WGAN-GP with the wide residual networks on LSUN bedrooms at 64x64.

Expected: the paper publishes samples, no score for these networks.
Hardware: one GPU; a guess: three days on an A100.

    jaxgan train configs/wgangp_lsun64.py
"""

from jaxgan.config import Data, Experiment
from jaxgan.systems.wgan_gp import GoodWGANGP

config = Experiment(
    system=GoodWGANGP(),
    data=Data(source="tfds:lsun/bedroom", resize=True),
    batch=64,
    steps=200_000,
)
