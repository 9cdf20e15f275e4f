"""What a compiled program does, read from its text: loops, products, collectives.

XLA's own cost analysis counts the body of a loop once, however often it runs, so the FLOPs and the
estimated time of a step with several updates a player, or with micro-batches, would be far too low.
`Program` weighs every computation by how often it runs.
"""

import collections
import dataclasses
import functools
import math
import re
from typing import Any

_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*)$")
_OPCODE = re.compile(r"(?:^|\s)([a-z][a-z0-9\-]*)\(")
_SHAPE = re.compile(r"\b(pred|[a-z]+\d+[a-z0-9]*)\[([\d,]*)\]")
_CALLS = re.compile(r"(?:calls|to_apply|body|condition)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}|(?:true|false)_computation=%?([\w.\-]+)")
_BYTES = {
    "pred": 1,
    "s4": 0.5,
    "u4": 0.5,
    "s8": 1,
    "u8": 1,
    "s16": 2,
    "u16": 2,
    "f16": 2,
    "bf16": 2,
}
_BYTES |= {"s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8, "c64": 8, "c128": 16}

COLLECTIVES = (
    "all-reduce",
    "reduce-scatter",
    "all-gather",
    "all-to-all",
    "collective-permute",
    "collective-broadcast",
)


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line: what it computes, of which type, from which others."""

    name: str
    opcode: str
    type: str
    arguments: str  # operands and attributes, as written

    @property
    def shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        """(element type, dimensions) of the output, or of each part of a tuple."""
        found = _SHAPE.findall(self.type)
        return [(kind, tuple(int(n) for n in dims.split(",") if n)) for kind, dims in found]

    @property
    def size(self) -> float:
        """Bytes of the output."""
        return sum(_BYTES.get(kind, 1) * math.prod(dims) for kind, dims in self.shapes)


class Program:
    """An HLO module's text, as `compiled.as_text()` or `lowered.as_text("hlo")` give it."""

    def __init__(self, text: str):
        self.computations: dict[str, dict[str, Instruction]] = {}
        self.entry = ""
        current: dict[str, Instruction] = {}
        for line in text.splitlines():
            if header := _HEADER.match(line):
                current = self.computations.setdefault(header[2], {})
                self.entry = header[2] if header[1] else self.entry
            elif (found := _INSTRUCTION.match(line)) and (opcode := _OPCODE.search(found[2])):
                name, rest = found.groups()
                current[name] = Instruction(
                    name, opcode[1], rest[: opcode.start(1)], rest[opcode.end() :]
                )

    @functools.cached_property
    def runs(self) -> dict[str, int]:
        """How often each computation runs in one execution of the program.

        Of a conditional's branches each counts in full: what rests in some steps is what the
        fullest step costs.
        """
        runs: dict[str, int] = collections.Counter()

        def visit(name: str, times: int) -> None:
            runs[name] += times
            for instruction in self.computations.get(name, {}).values():
                inner = times * self._trips(instruction) if instruction.opcode == "while" else times
                for callee in _callees(instruction):
                    visit(callee, inner)

        visit(self.entry, 1)
        return runs

    def _trips(self, loop: Instruction) -> int:
        """Iterations of a counted loop, from the constant that its condition compares with."""
        if known := re.search(r'known_trip_count":\{"n":"(\d+)"', loop.arguments):
            return int(known[1])
        condition = re.search(r"condition=%?([\w.\-]+)", loop.arguments)
        names = [condition[1]] if condition else []
        constants = []
        while names:
            for instruction in self.computations.get(names.pop(), {}).values():
                names += _callees(instruction)
                value = re.match(r"(\d+)\)", instruction.arguments)
                if instruction.opcode == "constant" and value:
                    constants.append(int(value[1]))
        return max([1, *constants])

    def product_flops(self, *, unrolled: bool = True) -> float:
        """FLOPs of convolutions and matrix products, a multiplication and an addition being two.

        Products with padding count as if it were data. `unrolled=False` counts the bodies of loops
        once, as XLA's analysis does.
        """
        return sum(
            (times if unrolled else 1) * _flops(instruction, self.computations[name])
            for name, times in self.runs.items()
            for instruction in self.computations.get(name, {}).values()
        )

    def collectives(self) -> dict[str, dict[str, int]]:
        """{kind: {"count", "bytes"}} of one execution, bytes being those of the outputs."""
        totals: dict[str, dict[str, int]] = {}
        for name, times in self.runs.items():
            for instruction in self.computations.get(name, {}).values():
                kind = instruction.opcode.removesuffix("-start")
                if kind not in COLLECTIVES:
                    continue
                # What a start returns is operands and results, but for all-reduce.
                twice = instruction.opcode.endswith("-start") and kind != "all-reduce"
                total = totals.setdefault(kind, {"count": 0, "bytes": 0})
                total["count"] += times
                total["bytes"] += int(times * instruction.size / (1 + twice))
        return totals


def flops_and_share(
    program: Program, compiled: Any, lowered: Any, devices: int
) -> tuple[float, float]:
    """FLOPs of one device in one execution, and which share of them XLA's own analysis counts.

    That share is taken from products alone: what else a loop does is a few hundredths of them.

    Args:
        program: `Program(compiled.as_text())`.
        compiled: `lowered.compile()`.
        lowered: `jitted.lower(...)`, for `devices` devices.
        devices: that share the work.
    """
    counted = (compiled.cost_analysis() or {}).get("flops")
    if not counted:
        # GPUs' convolutions are calls of cuDNN: take the program before it was optimised.
        return Program(lowered.as_text("hlo")).product_flops() / devices, 1.0
    products = program.product_flops()
    share = program.product_flops(unrolled=False) / products if products else 1.0
    return counted / share, share


def _callees(instruction: Instruction) -> list[str]:
    names = _CALLS.findall(instruction.arguments)
    for several, one in _BRANCHES.findall(instruction.arguments):
        names += [name.strip(" %") for name in several.split(",")] if several else [one]
    return names


def _flops(instruction: Instruction, computation: dict[str, Instruction]) -> float:
    if instruction.opcode not in ("convolution", "dot"):
        return 0.0
    operands = re.findall(r"%?([\w.\-]+)", instruction.arguments.partition(")")[0])
    operands = [name for name in operands if name in computation]
    if len(operands) < 2:
        return 0.0
    (_, output), *_ = instruction.shapes
    if instruction.opcode == "dot":
        contracted = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", instruction.arguments)
        axes = [int(n) for n in contracted[1].split(",") if n] if contracted else []
        left = computation[operands[0]].shapes[0][1]
        return 2.0 * math.prod(output) * math.prod(left[axis] for axis in axes)
    kernel = computation[operands[1]].shapes[0][1]
    labels = re.search(r"dim_labels=\w+_(\w+)->", instruction.arguments)
    outputs = kernel[labels[1].index("o")] if labels and "o" in labels[1] else 1
    holes = re.search(r"lhs_dilate=([\dx]+)", instruction.arguments)
    dilation = math.prod(int(n) for n in holes[1].split("x")) if holes else 1
    groups = re.search(r"batch_group_count=(\d+)", instruction.arguments)
    return (
        2.0
        * math.prod(output)
        * math.prod(kernel)
        / outputs
        / dilation
        / int(groups[1] if groups else 1)
    )
