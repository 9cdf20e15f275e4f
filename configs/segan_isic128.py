"""SegAN on skin lesions (ISIC 2017, part 1), 128 pixels: the networks of the authors' code.

The 2,000 photographs and the masks of their lesions are to be downloaded, and each photograph put
at the left of its mask, in one file (`jaxgan/data/README.md`, pairs). The authors bring them to
180x135, mirror them both ways and cut 128x128 out of every other one, squeezing the rest; here
they are brought to a height of 135, mirrored left to right, and 128x128 is cut out of each.
Expected: not measured.
Hardware: one GPU; a guess: five hours on an A100.

    jaxgan train configs/segan_isic128.py --data pairs:isic/train:BtoA
    jaxgan evaluate runs/segan_isic128 --metrics iou,dice --against pairs:isic/test:BtoA
"""

from jaxgan.config import Checkpoint, Data, Experiment, Log
from jaxgan.systems.segan import SegAN

EPOCH = 56  # iterations: 2,000 images in batches of 36

config = Experiment(
    system=SegAN(halve=(EPOCH, 25 * EPOCH)),
    data=Data(
        source="pairs:isic/train:BtoA",
        columns=("mask=input",),
        jitter=135,
        flip=True,
    ),
    batch=36,
    steps=200 * EPOCH,  # the code goes on until it is stopped; the step size ends at 100 epochs
    checkpoint=Checkpoint(every=25 * EPOCH),
    log=Log(samples=EPOCH * 5),
)
