"""Generative adversarial networks in pure functional JAX.

run = jaxgan.open("runs/quickstart")        # a run on disk
images = run.sample(16, label=3, seed=0)    # uint8 [16, 28, 28, 1]

state = jaxgan.init(system, seed=0)         # or without any file
step = jaxgan.make_step(system)
state, metrics = step(state, {"image": images})
"""

from jaxgan.cpu import tune_cpu

tune_cpu()

from jaxgan.config import Checkpoint, Data, Evaluate, Experiment, Log, Mesh
from jaxgan.errors import UserError
from jaxgan.run import Run
from jaxgan.run import open_run as open
from jaxgan.system import Player, Stage, State, System, View
from jaxgan.trainer import train
from jaxgan.training.sampling import evaluation_view
from jaxgan.training.step import init, make_step

__all__ = [
    "Checkpoint",
    "Data",
    "Evaluate",
    "Experiment",
    "Log",
    "Mesh",
    "Player",
    "Run",
    "Stage",
    "State",
    "System",
    "UserError",
    "View",
    "evaluation_view",
    "init",
    "make_step",
    "open",
    "train",
]
