"""WGAN-GP on eight Gaussians on a circle, after section 5.1 of the paper.

The authors' toy networks with 128 instead of 512 units a layer, a larger step size that falls to
0, and an average of the generator: for speed.

Expected: points at all eight centres in nearly equal shares, within minutes.
Hardware: a laptop's CPU.

    jaxgan train configs/wgangp_ring.py
"""

from jaxgan.config import Data, Experiment
from jaxgan.systems.wgan_gp import MLPWGANGP

config = Experiment(
    system=MLPWGANGP(
        hidden=(128, 128, 128), learning_rate=1e-3, decay=(2000, 4500), ema_decay=0.995
    ),
    data=Data(source="ring"),
    batch=256,
    steps=4500,
)
