"""Photographs compressed as luma, their chroma painted; within 15 minutes on two CPU cores.

`pip install '.[demo,codec]'` brings all of it: 16 pictures that scikit-image and scikit-learn ship,
and the coloured ones in all orders of their channels, so that no thing has one colour. What a file
has of chroma is a mean of each 16x16 pixels, 10 bits for 256 pixels; luma is a WebP without loss.
An astronaut and a stained tissue, in neither, are scored by crops of 64 pixels.

On two CPU cores: 6.5 minutes. Both whole pictures take 275 kB, luma bit for bit, where WebP without
loss takes 639 kB for all three channels. PSNR of their chroma is 28.0 dB; without colour 22.3, of
4:2:0 45.5. Of the crops: 25.9, 22.4 and 35.1.

    jaxgan train configs/colourise_photos.py
    jaxgan evaluate runs/colourise_photos --metrics chroma,psnr,bpp --against photos:held
    jaxgan compress runs/colourise_photos photo.png photo.jgc

The networks are half as wide as pix2pix's, for 64 pixels instead of 256, without dropout, and the
step size is five times as large.
"""

from jaxgan.config import Checkpoint, Data, Experiment, Log
from jaxgan.systems.colourise import Colourise

config = Experiment(
    system=Colourise(
        shape=(64, 64, 3),
        coder="webp",
        cell=16,
        width=32,
        discriminator_width=16,
        patch_halvings=2,
        dropout=0.0,
        learning_rate=1e-3,
        decay=(1500, 3000),
    ),
    data=Data(source="photos:recoloured", jitter=128, flip=True),
    batch=8,
    steps=3000,
    checkpoint=Checkpoint(every=1000),
    log=Log(every=50, samples=500, grid=48),
)
