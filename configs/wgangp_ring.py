"""WGAN-GP on eight Gaussians on a circle, after section 5.1 of the paper.

The authors' toy networks with 128 instead of 512 units a layer, for speed.

Expected: points at all eight centres in nearly equal shares, within minutes.
Hardware: a laptop's CPU.

    jaxgan train configs/wgangp_ring.py
"""

from jaxgan.config import Data, Experiment
from jaxgan.systems.wgan_gp import MLPWGANGP

config = Experiment(
    system=MLPWGANGP(hidden=(128, 128, 128)),
    data=Data(source="ring"),
    batch=256,
    steps=10_000,
)
