"""SinGAN on one photograph, 96 pixels wide, in a few minutes on two CPU cores.

On a temple that scikit-learn ships (`pip install '.[demo]'`).

    jaxgan train configs/singan.py
    jaxgan sample runs/singan --num 6 --out temples.png
    jaxgan sample runs/singan --num 4 --size 64x192 --out wide.png
    jaxgan edit runs/singan pasted.png harmonised.png --task harmonise --mask where.png
    jaxgan edit runs/singan photo.png large.png --task superres --factor 4

Another photograph: `--data image:FILE --system.shape HEIGHT WIDTH 3 --steps 8000`, the longer side
at most 250; a run ends with the last scale's 400 iterations, however many steps are left.
SinGAN's defaults are the paper's settings, for 250 pixels: 2,000 iterations of three updates for
each of eleven scales, of up to 128 channels; that takes a GPU.
"""

from jaxgan.config import Checkpoint, Data, Experiment, Log, Mesh
from jaxgan.systems.singan import SinGAN

SYSTEM = SinGAN(
    shape=(64, 96, 3),
    factor=0.6,
    max_width=32,
    iterations=400,
    updates=1,
    reconstruction_weight=30.0,
    learning_rate=1e-3,
)

config = Experiment(
    system=SYSTEM,
    data=Data(source="image:china", resize=True),
    batch=1,
    steps=len(SYSTEM.sizes()) * SYSTEM.iterations,
    mesh=Mesh(data=1),
    checkpoint=Checkpoint(every=300),
    log=Log(every=50, samples=400, grid=6),
)
