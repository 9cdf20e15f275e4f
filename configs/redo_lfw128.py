"""ReDO on faces at 128 pixels: heads cut out without labels.

The data are a folder of the funneled images of Labeled Faces in the Wild, less those that the paper
tests by (`datasplits` in the authors' repository). No mask is used in training.
Published: accuracy 0.917, IoU 0.781 on the test images, the better polarity of each image.
Hardware: one GPU; a guess: three days on an A100. The authors stop after 20,000 to 40,000
iterations.

    jaxgan train configs/redo_lfw128.py --data lfw_funneled --recursive
    jaxgan apply runs/redo_lfw128 segment --image face.png --out mask.png

A run that collapses stops with a line; begin anew with another --seed.
"""

from jaxgan.config import Data, Experiment
from jaxgan.systems.redo import ReDO

config = Experiment(
    system=ReDO(attention=True),
    data=Data(source="lfw/train", resize=True),
    batch=20,
    steps=40_000,
)
