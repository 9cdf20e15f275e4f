"""Extreme compression of emoji that lie on textures, within 15 minutes on two CPU cores.

3,346 pictures of nine tenths of the names (`jaxgan/data/emoji.py` says how to get them), 440 others
to test. Eight channels of five centres a cell of 8x8 pixels are .29 bits per pixel, a file's first
20 bytes .04 more. It is selective: `--keep MASK` codes what a mask marks, and the rest is made up.

On two CPU cores: 11 minutes. Files of 200 pictures that were held out have .35 bits per pixel, less
than JPEG, WebP and AVIF take at their lowest quality; LPIPS is .224, PSNR 15.2 dB. Outlines and
colours come back, fine texture is a grid.

    jaxgan train configs/agustsson_emoji.py --data emoji:FOLDER:google:textures:train
    jaxgan evaluate runs/agustsson_emoji --metrics psnr,ssim,lpips,bpp \\
        --against emoji:FOLDER:google:textures:test
    jaxgan compress runs/agustsson_emoji emoji.png emoji.jgc --keep mask.png

Networks are about a quarter as wide as the published ones, three halvings instead of four, two
sizes are judged instead of three, and steps are five times as large.
"""

from jaxgan.config import Checkpoint, Data, Experiment, Log
from jaxgan.systems.agustsson import Agustsson

config = Experiment(
    system=Agustsson(
        shape=(64, 64, 3),
        latents=8,
        width=16,
        halvings=3,
        blocks=3,
        discriminator_width=16,
        patch_halvings=2,
        scales=2,
        selective=True,
        learning_rate=1e-3,
    ),
    data=Data(source="emoji:emoji:google:textures:train", flip=True),
    batch=8,
    steps=3000,
    checkpoint=Checkpoint(every=1000),
    log=Log(every=50, samples=500, grid=64),
)
