"""CycleGAN on horses and zebras, 256 pixels, without pairs.

The data are two folders, of 1,067 horses and 1,334 zebras, which the authors publish; they are to
be downloaded and unpacked.
Expected: pictures such as the paper's figure 7; the paper does not measure this set.
Hardware: one GPU; a guess: a day on an A100, since the batches are of one image.

    jaxgan train configs/cyclegan_horse2zebra256.py
    jaxgan translate runs/cyclegan_horse2zebra256 horses zebras
    jaxgan translate runs/cyclegan_horse2zebra256 zebra.jpg horse.png --direction BtoA
"""

from jaxgan.config import Data, Experiment, Log
from jaxgan.systems.cyclegan import CycleGAN

config = Experiment(
    system=CycleGAN(decay=(133_400, 266_800)),
    data=Data(source="unpaired:horse2zebra/trainA,horse2zebra/trainB", jitter=286, flip=True),
    batch=1,
    steps=266_800,  # 200 epochs
    log=Log(samples=1000),
)
