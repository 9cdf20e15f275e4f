"""pix2pix on facades: from label maps to photographs, 256 pixels.

The data are 400 files with a photograph left and its labels right, which the authors publish; they
are to be downloaded and unpacked.
Expected: pictures such as the paper's figure 4; the paper measures this set only by eye.
Hardware: one GPU; a guess: an hour on an A100, since the batches are of one image.

    jaxgan train configs/pix2pix_facades256.py --data pairs:facades/train:BtoA
    jaxgan translate runs/pix2pix_facades256 labels.png photographs.png --samples 4
"""

from jaxgan.config import Data, Experiment, Log
from jaxgan.systems.pix2pix import Pix2Pix

config = Experiment(
    system=Pix2Pix(decay=(40_000, 80_000)),
    data=Data(source="pairs:facades/train:BtoA", jitter=286, flip=True),
    batch=1,
    steps=80_000,  # 200 epochs
    log=Log(samples=1000),
)
