"""Draws how a step scales with devices, from plans; run by hand.

    for side in 2x2 4x4 8x8 16x16 32x32; do
        cores=$((2 * ${side%x*} * ${side%x*}))
        for batch in $((16 * cores)) 2048; do
            jaxgan plan biggan_imagenet128 --topology tpu:v3:$side --batch $batch --effort -1 \
                --system.dtype bfloat16 --system.discriminator-updates 1 \
                --json > plan_${cores}_$batch.json
        done
    done
    python tests/plot_scaling.py plan_*.json .github/scaling.png

Lines are of one batch a device, and of one batch in all. What does not fit leaves no file.
"""

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")

from matplotlib import pyplot as plt

PANELS = {
    "step, ms": lambda plan: 1e3 * plan["step_seconds"],
    "images a second and device": lambda plan: plan["images_per_second"] / plan["devices"],
    "memory at most, GiB a device": lambda plan: plan["peak_bytes"] / 2**30,
    "links, ms exposed (a bound)": lambda plan: 1e3 * plan["wire_exposed_seconds"],
}


def lines(plans: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Plans of one batch a device, and of one batch in all, in the order of devices."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for plan in sorted(plans, key=lambda plan: plan["devices"]):
        if plan["batch"] == 2048:
            found["batch 2,048"].append(plan)
        if plan["batch"] == 16 * plan["devices"]:
            found["batch 16 a device"].append(plan)
    return found


def main() -> None:
    *files, out = map(Path, sys.argv[1:])
    plans = [plan for file in files if file.stat().st_size for plan in json.loads(file.read_text())]
    efforts = {(plan["effort"], plan["quick"]) for plan in plans}
    assert len(efforts) == 1, f"plans of different efforts: {efforts}"
    figure, axes = plt.subplots(1, len(PANELS), figsize=(14, 3.2), layout="constrained")
    for axis, (title, value) in zip(axes, PANELS.items(), strict=True):
        for name, some in lines(plans).items():
            devices = [plan["devices"] for plan in some]
            axis.plot(devices, [value(plan) for plan in some], "o-", label=name)
        axis.set(title=title, xscale="log", ylim=(0, None), xlabel="devices")
        axis.set_xticks(sorted({plan["devices"] for plan in plans}))
        axis.xaxis.set_major_formatter("{x:.0f}")
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.savefig(out, dpi=100)


if __name__ == "__main__":
    main()
