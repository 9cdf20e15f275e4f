"""Extreme compression of street scenes to .036 bits per pixel (Agustsson et al. 2018).

A folder of the 2,975 training images of Cityscapes, brought to 512x1024; C = 4 channels of five
centres a cell of 16x16 pixels, 4 log2(5) / 256 bits per pixel, for which the paper, which entropy
codes them, has .033. `--system.latents 2`, `8`, `16` are its other rates. 50 epochs, batch 1.
Not reproduced here.

    jaxgan train configs/agustsson_cityscapes.py --data FOLDER
    jaxgan compress runs/agustsson_cityscapes street.png street.jgc

`--system.selective` also learns to make up what a mask does not keep, and with maps of labels,
`--system.classes 35 --data pairs:FOLDER --data.columns mask=input`, what they say is there:
`jaxgan compress RUN street.png street.jgc --keep cars.png --mask labels.png`.
"""

from jaxgan.config import Checkpoint, Data, Experiment, Log
from jaxgan.systems.agustsson import Agustsson

config = Experiment(
    system=Agustsson(),
    data=Data(source="cityscapes", resize=True, flip=True),
    batch=1,
    steps=148_750,
    checkpoint=Checkpoint(every=5000),
    log=Log(every=100, samples=5000, grid=8),
)
