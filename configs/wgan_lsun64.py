"""WGAN with weight clipping on LSUN bedrooms at 64x64.

Expected: the paper publishes samples and a critic's loss that falls as they improve, no score.
Hardware: one GPU; a guess: four hours on an A100.

    jaxgan train configs/wgan_lsun64.py
"""

from jaxgan.config import Data, Experiment
from jaxgan.systems.wgan import WGAN

config = Experiment(
    system=WGAN(),
    data=Data(source="tfds:lsun/bedroom", resize=True),
    batch=64,
    steps=100_000,
)
