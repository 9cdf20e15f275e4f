"""MoCoGAN on human actions: 72 clips of people who walk, jump and wave (Tulyakov et al. 2018).

The authors' recipe for the strips of frames that their repository ships in data/actions (four
classes; from Gorelick et al., "Actions as Space-Time Shapes", 2007): four categories, which are
found, not given, every second frame, noise of 0.1, batches of 32, 100,000 iterations. Not
reproduced here.

    jaxgan train configs/mocogan_actions.py --data clips:FOLDER
    jaxgan sample runs/mocogan_actions --num 16 --out clips.gif
"""

from jaxgan.config import Checkpoint, Data, Experiment, Log
from jaxgan.systems.mocogan import MoCoGAN

config = Experiment(
    system=MoCoGAN(shape=(16, 64, 64, 3), classes=4, noise=0.1),
    data=Data(source="clips:actions", stride=2, resize=True),
    batch=32,
    steps=100_000,
    checkpoint=Checkpoint(every=5000),
    log=Log(every=100, samples=1000, grid=16),
)
