"""ProGAN on CelebA-HQ at 1024 pixels, the schedule and step sizes of eight GPUs.

Expected: Frechet Inception distance 7.30, published by Karras et al. 2018 (table 1). The folder
holds CelebA-HQ's 30,000 images of 1024 pixels.
Hardware: the authors trained for four days on eight V100s.

    jaxgan train configs/progan_celebahq1024.py --data celeba_hq
"""

from jaxgan.config import Checkpoint, Data, Experiment, Log
from jaxgan.systems.progan import ProGAN

SYSTEM = ProGAN(
    shape=(1024, 1024, 3),
    batches=(512, 256, 128, 64, 32, 32, 32, 32, 32),
    rates=(1e-3, 1e-3, 1e-3, 1e-3, 1e-3, 1.5e-3, 2e-3, 3e-3, 3e-3),
)

config = Experiment(
    system=SYSTEM,
    data=Data(source="celeba_hq", flip=True),
    batch=32,
    steps=SYSTEM.iterations(12_000),
    checkpoint=Checkpoint(every=5000),
    log=Log(every=200, samples=5000, grid=16),
)
