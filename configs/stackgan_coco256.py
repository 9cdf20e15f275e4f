"""StackGAN on COCO at 256 pixels, of captions: networks and schedule of the authors' code.

Expected: Inception score 8.45, published by Zhang et al. 2017 (table 1), of vectors of 1,024
numbers by the char-CNN-RNN of Reed et al. 2016. Their 82,783 training images of 2014 take tar files
with a NAME.json beside each NAME.jpg, `{"text": [0.01, ...]}`, one vector an image; a
metadata.jsonl of all of them is larger than what is read. With sentences, as in the first line
below, the folder has a metadata.jsonl, whose `text` is a list of an image's captions; scores will
be others.
Stage I takes 120 epochs, stage II 100; images are brought to 256 pixels whole, where the authors
cut them out of 304.
Hardware: one GPU; a guess: a week on an A100.

    jaxgan train configs/stackgan_coco256.py --data coco --system.encoder minilm \\
        --system.embedding 384
    jaxgan train configs/stackgan_coco256.py --data 'coco-{000..082}.tar'  # of vectors
"""

from jaxgan.config import Checkpoint, Data, Experiment, Log
from jaxgan.systems.stackgan import StackGAN

SYSTEM = StackGAN()

config = Experiment(
    system=SYSTEM,
    data=Data(source="coco", resize=True, flip=True),
    batch=40,
    steps=SYSTEM.steps + 207_000,
    checkpoint=Checkpoint(every=5000),
    log=Log(every=200, samples=5000, grid=16),
)
