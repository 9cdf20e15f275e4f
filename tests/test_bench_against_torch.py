"""The comparison with PyTorch, on a network so small that it says nothing of speed."""

import json
import subprocess
import sys

import pytest
import torch

from tests import bench_against_torch
from tests.bench_against_torch import CASES, all_items, items_of
from tests.reference.steps import CycleGAN, Duel, StyleGAN2, Way


def script(*arguments):
    return subprocess.run(
        [sys.executable, bench_against_torch.__file__, *arguments], capture_output=True, text=True
    )


def test_items_are_measured_each_in_a_process(tmp_path):
    out = tmp_path / "found.jsonl"
    items = ("tiny-outputs", "tiny-jax", "tiny-torch")
    ran = script(*items, "--rounds", "2", "--out", str(out))
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == out.read_text()
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["item"] for row in found] == list(items)
    outputs, ours, theirs = found
    assert outputs["difference"] < 1e-4
    for row in (ours, theirs):
        assert row["device"] == "cpu"
        assert row["images_per_s"] == pytest.approx(4e3 / row["step_ms"], rel=1e-3)
        assert row["min_ms"] <= row["step_ms"] <= row["max_ms"]
        assert row["peak_gib"] > 0.1
    assert ours["flops"] > 1e6
    assert ours["share"] is None


def test_an_item_that_fails_is_said_and_the_next_one_comes(monkeypatch, tmp_path):
    failed = bench_against_torch.in_process("nothing-jax", "cpu", steps=1)
    assert failed == {"item": "nothing-jax", "failed": "KeyError: 'nothing'"}
    late = bench_against_torch.in_process("tiny-jax", "cpu", steps=1, limit=0.1)
    assert late == {"item": "tiny-jax", "failed": "not done in 0 s"}
    monkeypatch.setattr(bench_against_torch, "in_process", lambda *_, **__: {"item": "x"})
    bench_against_torch.run_items(["train", "agree"], "cuda", 1, 20.0, tmp_path / "out")
    assert (tmp_path / "out").read_text() == '{"item": "x"}\n' * 2
    bench_against_torch.run_items(["train"], "cuda", 1, 10.0, tmp_path / "out")
    assert json.loads((tmp_path / "out").read_text().splitlines()[2])["failed"] == "no time is left"


def test_a_gpu_is_asked_for_outputs_before_speed():
    items = all_items()
    for name in bench_against_torch.ON_GPU:
        places = [items.index(item) for item in items_of([name])]
        assert places == sorted(places)
    assert items[0] == "train"


@pytest.mark.parametrize(
    "game",
    [
        Duel(module="sagan", shape=(64, 64, 3), batch=2, rates=(1e-4, 1e-4), latent=128),
        StyleGAN2(widths=(8, 8), batch=4, rate=1e-3, latent=8, mapping=2, gamma=1.0),
        CycleGAN(shape=(32, 32, 3), batch=1, width=4, blocks=1),
    ],
)
def test_a_step_moves_every_network_and_freezes_none_for_good(game, monkeypatch):
    networks = game.networks()
    monkeypatch.setattr(type(game), "networks", lambda self: networks)
    modules = list(networks.values()) if isinstance(networks, dict) else list(networks)
    before = [[p.clone() for p in module.parameters()] for module in modules]
    step = game.step(Way(channels_last=True))
    step()
    for module, old in zip(modules, before, strict=True):
        moved = [not torch.equal(a, b) for a, b in zip(old, module.parameters(), strict=True)]
        assert sum(moved) > len(moved) / 3  # a gate of 0 holds up what is behind it
        assert all(p.requires_grad for p in module.parameters())


def test_players_that_rest_are_left_out():
    def players(name):
        return [p.name for stage in CASES[name].jax_system().stages() for p in stage.players]

    assert players("stylegan2_32") == ["generator", "discriminator"]
    assert players("stylegan2_32_r1") == ["generator", "discriminator", "r1"]
