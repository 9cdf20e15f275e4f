"""ReDO on flowers at 128 pixels: flowers cut out without labels.

The data are Flowers-102 (the university of Oxford's page of it has images, segmentations and
splits): a folder of the 6,149 images that its setid.mat names under `tstid`, on which the paper
trains. The number of regions is two; no mask is used in training.
Published: accuracy 0.879, IoU 0.764 on the test images, the better polarity of each image.
Hardware: one GPU; a guess: two days on an A100. The authors stop after 20,000 to 40,000 iterations.

    jaxgan train configs/redo_flowers128.py --data flowers/train
    jaxgan apply runs/redo_flowers128 segment --image flower.png --out mask.png

A run that collapses stops with a line; begin anew with another --seed.
"""

from jaxgan.config import Data, Experiment
from jaxgan.systems.redo import ReDO

config = Experiment(
    system=ReDO(generator_width=32, attention=True),
    data=Data(source="flowers/train", resize=True),
    batch=20,
    steps=40_000,
)
