"""StyleGAN on FFHQ at 1024 pixels, the schedule and step sizes of eight GPUs.

Expected: Frechet Inception distance 4.40, published by Karras et al. 2019 (table 1). The folder
holds FFHQ's 70,000 images of 1024 pixels.
Hardware: the authors trained for a week on eight V100s.

    jaxgan train configs/stylegan_ffhq1024.py --data ffhq
"""

from jaxgan.config import Checkpoint, Data, Experiment, Log
from jaxgan.systems.stylegan import StyleGAN

SYSTEM = StyleGAN(
    shape=(1024, 1024, 3),
    batches=(512, 256, 128, 64, 32, 32, 32, 32, 32),
    rates=(1e-3, 1e-3, 1e-3, 1e-3, 1e-3, 1.5e-3, 2e-3, 3e-3, 3e-3),
)

config = Experiment(
    system=SYSTEM,
    data=Data(source="ffhq", flip=True),
    batch=32,
    steps=SYSTEM.iterations(25_000),
    checkpoint=Checkpoint(every=5000),
    log=Log(every=200, samples=5000, grid=16),
)
