"""SegAN on emoji that lie on textures: image to mask, within 15 minutes on two CPU cores.

The data are the npm package emoji-datasource-google, unpacked (`jaxgan/data/README.md`), on real
textures: their masks are exact. Both networks are an eighth as wide as published.
Expected: not measured yet.

    jaxgan train configs/segan_emoji.py --data emoji:FOLDER:google:textures:train
    jaxgan evaluate runs/segan_emoji --metrics iou,dice --against emoji:FOLDER:google:textures:test
"""

from jaxgan.config import Checkpoint, Data, Experiment, Log
from jaxgan.systems.segan import SegAN

config = Experiment(
    system=SegAN(shape=(64, 64, 3), width=8, learning_rate=1e-3, halve=(600, 200)),
    data=Data(source="emoji:emoji:google:textures:train", flip=True),
    batch=16,
    steps=1200,
    checkpoint=Checkpoint(every=300),
    log=Log(every=50, samples=300, grid=80),
)
