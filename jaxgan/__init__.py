"""Generative adversarial networks in pure functional JAX.

run = jaxgan.open("runs/quickstart")             # a run on disk
images = run.sample(16, label=3, seed=0)         # uint8 [16, 28, 28, 1]
made = run.use("generate", n=16, label=3)        # anything that it can do: `jaxgan info RUN`

state = jaxgan.init(system, seed=0)              # or without any file
step = jaxgan.make_step(system)
state, metrics = step(state, {"image": images})  # float32 in [-1, 1]
made = jaxgan.apply(system, state, "generate", numbers=16).made["image"]
jaxgan.save(state, "checkpoints")
state = jaxgan.restore(system, "checkpoints")
"""

import gc

from jaxgan.interrupt import leave_at_once, of_command

if of_command():
    leave_at_once()  # the rest takes seconds
    # What is imported stays: looking for garbage in it, now and later, takes 1.3 of the 8 s of
    # `jaxgan train quickstart --steps 1` (Python 3.11, two cores, 2026-11).
    gc.disable()

from jaxgan.cpu import tune_cpu

tune_cpu()

from jaxgan import fields
from jaxgan.config import Checkpoint, Data, Evaluate, Experiment, Log, Mesh
from jaxgan.errors import UserError
from jaxgan.run import Run, train
from jaxgan.run import open_run as open
from jaxgan.state import State
from jaxgan.system import Player, Pretrained, Stage, System, Use
from jaxgan.training.apply import apply, draw, evaluation_view
from jaxgan.training.checkpoint import restore, save
from jaxgan.training.step import init, make_step
from jaxgan.view import View

if of_command():
    gc.freeze()
    gc.enable()

__all__ = [
    "Checkpoint",
    "Data",
    "Evaluate",
    "Experiment",
    "Log",
    "Mesh",
    "Player",
    "Pretrained",
    "Run",
    "Stage",
    "State",
    "System",
    "Use",
    "UserError",
    "View",
    "apply",
    "draw",
    "evaluation_view",
    "fields",
    "init",
    "make_step",
    "open",
    "restore",
    "save",
    "train",
]
