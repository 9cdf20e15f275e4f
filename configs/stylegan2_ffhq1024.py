"""StyleGAN2, configuration F, on FFHQ at 1024 pixels.

Expected: Frechet Inception distance 2.84, published by Karras et al. 2020 (table 1). The folder
holds FFHQ's 70,000 images of 1024 pixels.
Hardware: the authors trained for nine days on eight V100s.

    jaxgan train configs/stylegan2_ffhq1024.py --data ffhq
"""

from jaxgan.config import Checkpoint, Data, Experiment, Log
from jaxgan.systems.stylegan2 import StyleGAN2

config = Experiment(
    system=StyleGAN2(shape=(1024, 1024, 3)),
    data=Data(source="ffhq", flip=True),
    batch=32,
    steps=781_250,
    checkpoint=Checkpoint(every=5000),
    log=Log(every=200, samples=5000, grid=16),
)
