"""What a compiled program does, read from its text: loops, products, collectives.

XLA's own cost analysis counts the body of a loop once, however often it runs, so the FLOPs and the
estimated time of a step with several updates a player, or with micro-batches, would be far too low.
`Program` weighs every computation by how often it runs.

One collective may stand in the text many times: libtpu repeats an asynchronous one in each of the
fusions that it runs beside, with the same channel. `Program` counts channels, not lines.
"""

import collections
import dataclasses
import functools
import math
import re
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*)$")
_OPCODE = re.compile(r"(?:^|\s)([a-z][a-z0-9\-]*)\(")
_SHAPE = re.compile(r"\b(pred|[a-z]+\d+[a-z0-9]*)\[([\d,]*)\]")
_LAYOUT = re.compile(_SHAPE.pattern + r"(?:\{([\d,]*)(?::T\(([\d,]+)\))?[^}]*\})?")
_ALIASED = re.compile(r"output_to_operand_aliasing=\{(.*?\))\}")
_CALLS = re.compile(r"(?:calls|to_apply|body|condition)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}|(?:true|false)_computation=%?([\w.\-]+)")
_CHANNEL = re.compile(r"\bchannel_id=(\d+)")
_PAIRS = re.compile(r"\bsource_target_pairs=\{(.*?\})\}")
_GROUPS = re.compile(r"\breplica_groups=\{(.*?\})\}")
_IOTA = re.compile(r"\breplica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")
_AXES = re.compile(r"\breplica_groups=mesh\[([^\]]*)\] \{([^}]*)\}")
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
# Opcodes that do no work: while nothing else runs, a collective is waited for.
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"}
_ASYNC = ("-start", "-update", "-done")


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

    @property
    def stored(self) -> list[float]:
        """Bytes of each part of the output, with the padding of its tiles."""
        return [_stored(*part) for part in _LAYOUT.findall(self.type)]


@dataclasses.dataclass(frozen=True)
class Transfer:
    """A collective of a program.

    Attributes:
        kind: one of COLLECTIVES.
        count: of its runs in one execution of the program.
        size: bytes of a device's output, in one run.
        groups: devices that exchange, by their places in the mesh; of a permute, pairs of a source
            and a target; None: all devices, or the text does not say which.
        hidden: whether other work runs between its start and its end.
    """

    kind: str
    count: int
    size: float
    groups: tuple[tuple[int, ...], ...] | None
    hidden: bool

    def received(self, chips: Sequence[Hashable]) -> float:
        """Bytes that the busiest chip receives over its links in one run, at the least.

        Of n devices each receives (n-1)/n of the whole that is gathered, scattered or exchanged,
        and twice that of what is reduced for all. Devices of one chip share what reaches it.

        Args:
            chips: on which chip each device of the mesh is.
        """
        if self.kind == "collective-permute" and not self.groups:
            return self.size  # its pairs could not be read
        found: dict[Hashable, float] = collections.defaultdict(float)
        for group in self.groups or [tuple(range(len(chips)))]:
            if self.kind == "collective-permute":
                source, target = group
                found[chips[target]] += self.size * (chips[source] != chips[target])
                continue
            for chip, here in collections.Counter(chips[device] for device in group).items():
                whole = {
                    "all-reduce": 2 * self.size,
                    "reduce-scatter": len(group) * self.size,
                    "all-to-all": here * self.size,
                }.get(self.kind, self.size)
                found[chip] += whole * (1 - here / len(group))
        return max(found.values(), default=0.0)


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
        for (name, _), times in self._placed.items():
            runs[name] += times
        return runs

    @functools.cached_property
    def _placed(self) -> dict[tuple[str, str], int]:
        """{(computation, host): runs}; the host's own instructions hold it, in fusions or not."""
        placed: dict[tuple[str, str], int] = collections.Counter()

        def visit(name: str, host: str, times: int) -> None:
            placed[name, host] += times
            for instruction in self.computations.get(name, {}).values():
                inner = times * self._trips(instruction) if instruction.opcode == "while" else times
                part = instruction.opcode in ("fusion", "async-start")
                for callee in _callees(instruction):
                    visit(callee, host if part else callee, inner)

        visit(self.entry, self.entry, 1)
        return placed

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

    def traffic(self) -> float:
        """Bytes that one execution reads and writes, by the instructions of a scheduled program.

        Nearly what XLA's own analysis says, but as often as loops run: of four steps compiled by
        libtpu -5 to +7%. Memory on the chip counts, too. What a fusion takes a slice of counts
        whole; what it only hands on does not count.
        """
        return sum(
            times * _traffic(instruction, self.computations[name])
            for (name, host), times in self._placed.items()
            if name == host
            for instruction in self.computations.get(name, {}).values()
        )

    def collectives(self) -> dict[str, dict[str, int]]:
        """{kind: {"count", "bytes"}} of one execution, bytes being those of the outputs."""
        totals: dict[str, dict[str, int]] = {}
        for each in self.transfers:
            total = totals.setdefault(each.kind, {"count": 0, "bytes": 0})
            total["count"] += each.count
            total["bytes"] += int(each.count * each.size)
        return totals

    @functools.cached_property
    def transfers(self) -> list[Transfer]:
        """The collectives of the program: those of a channel once, others each."""
        found: dict[tuple[str, ...], Transfer] = {}
        for (name, host), times in self._placed.items():
            for instruction in self.computations.get(name, {}).values():
                kind = instruction.opcode.removesuffix("-start")
                if kind not in COLLECTIVES:
                    continue
                groups, size = _groups(instruction.arguments), self._result(instruction, name).size
                # libtpu's reduce-scatter: an all-reduce, fused with the choice of a share.
                if name.startswith("all-reduce-scatter") and groups:
                    kind, size = "reduce-scatter", size / len(groups[0])
                channel = _CHANNEL.search(instruction.arguments)
                which = (host, channel[1], kind) if channel else (host, name, instruction.name)
                hidden = self._is_hidden(instruction, name)
                if which in found:
                    hidden |= found[which].hidden
                    times = found[which].count
                found[which] = Transfer(kind, times, size, groups, hidden)
        return list(found.values())

    def _result(self, instruction: Instruction, name: str) -> Instruction:
        """What ends a start, and so has its output alone; any other instruction itself."""
        return _end(instruction, self.computations[name]) or instruction

    def _is_hidden(self, instruction: Instruction, name: str) -> bool:
        """Whether a collective in a computation runs beside other work."""
        if "async_collective_fusion_config" in instruction.arguments:  # libtpu's
            return True
        if not instruction.opcode.endswith("-start"):
            if name not in self._starts:
                return False
            name, instruction = self._starts[name]
        computation = self.computations[name]
        if (end := _end(instruction, computation)) is None:
            return False
        names = list(computation)
        between = names[names.index(instruction.name) + 1 : names.index(end.name)]
        return any(
            each.opcode not in _FREE and not each.opcode.endswith(_ASYNC)
            for each in map(computation.__getitem__, between)
        )

    @functools.cached_property
    def _starts(self) -> dict[str, tuple[str, Instruction]]:
        """{computation that an async-start wraps: where that stands, and itself}."""
        return {
            callee: (name, instruction)
            for name, computation in self.computations.items()
            for instruction in computation.values()
            if instruction.opcode == "async-start"
            for callee in _callees(instruction)
        }


def memory_of(assignment: str) -> tuple[int, int, int, int]:
    """Bytes of a device's arguments, outputs, outputs in the arguments' place, and temporaries.

    Args:
        assignment: the text of XLA's `*-buffer-assignment.txt`.
    """
    arguments = outputs = aliased = temporary = 0
    # Other colours than the device's own memory are named: on the chip, of the host.
    for size, use in re.findall(r"(?m)^allocation \d+: size (\d+), (?!color)(.*)$", assignment):
        given, kept = "parameter" in use, "maybe-live-out" in use
        arguments += int(size) * given
        outputs += int(size) * kept
        aliased += int(size) * (given and kept)
        temporary += int(size) * ("preallocated-temp" in use)
    return arguments, outputs, aliased, temporary


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


def _stored(kind: str, dims: str, order: str, tile: str) -> float:
    """Bytes of an array of these dimensions, from minor to major in `order`, padded to tiles."""
    sizes = [int(n) for n in dims.split(",") if n]
    sizes = [sizes[int(axis)] for axis in order.split(",")] if order else sizes[::-1]
    steps = [int(n) for n in tile.split(",")][::-1] if tile else []
    sizes += [1] * (len(steps) - len(sizes))
    padded = [-(-size // step) * step for size, step in zip(sizes, steps, strict=False)]
    return _BYTES.get(kind, 1) * math.prod(padded + sizes[len(steps) :])


def _traffic(instruction: Instruction, computation: dict[str, Instruction]) -> float:
    """Bytes that an instruction reads and writes; loops, branches and calls count within."""
    opcode = instruction.opcode
    if opcode in _FREE | {"while", "conditional", "call"} or opcode.endswith(("-update", "-done")):
        return 0.0
    if opcode.endswith("-start"):
        end = _end(instruction, computation)
        return 2 * sum(end.stored) if end else 0.0
    written = instruction.stored
    read = [sum(each.stored) for each in _operands(instruction, computation)]
    if handed := _ALIASED.search(instruction.arguments):
        for part, operand in re.findall(r"\{(\d*)\}: \((\d+),", handed[1]):
            written[int(part or 0)] = read[int(operand)] = 0.0
    return sum(written) + sum(read)


def _operands(instruction: Instruction, computation: dict[str, Instruction]) -> list[Instruction]:
    """What an instruction takes, of the same computation."""
    names = re.findall(r"%?([\w.\-]+)", instruction.arguments.partition(")")[0])
    return [computation[name] for name in names if name in computation]


def _end(start: Instruction, computation: dict[str, Instruction]) -> Instruction | None:
    """The instruction that waits for an asynchronous one; None where that is not such."""
    if not start.opcode.endswith("-start"):
        return None
    done = start.opcode.removesuffix("-start") + "-done"
    return next(
        (
            each
            for each in computation.values()
            if each.opcode == done and re.search(rf"%?\b{re.escape(start.name)}\)", each.arguments)
        ),
        None,
    )


def _groups(arguments: str) -> tuple[tuple[int, ...], ...] | None:
    """Devices that exchange, as HLO writes them: {{0,1},{2,3}}, [2,2]<=[4], or axes of a mesh."""
    if found := _PAIRS.search(arguments) or _GROUPS.search(arguments):
        return tuple(
            tuple(int(n) for n in group.split(",")) for group in re.findall(r"([\d,]+)\}", found[1])
        )
    if found := _IOTA.search(arguments):
        shape, sizes, order = (
            [int(n) for n in (part or "").split(",") if n] for part in found.groups()
        )
        devices = np.arange(math.prod(sizes)).reshape(sizes).transpose(order or None)
        devices = devices.reshape(shape)
        return tuple(map(tuple, devices.tolist()))
    if found := _AXES.search(arguments):
        axes = [axis.split("=") for axis in found[1].split(",")]
        names, sizes = [name for name, _ in axes], [int(size) for _, size in axes]
        chosen = [name.strip() for name in found[2].split(",")]
        if set(chosen) <= set(names):  # not parts of axes
            inside = [names.index(name) for name in chosen]
            outside = [axis for axis in range(len(names)) if axis not in inside]
            devices = np.arange(math.prod(sizes)).reshape(sizes).transpose(outside + inside)
            groups = devices.reshape(-1, math.prod(sizes[axis] for axis in inside))
            return tuple(map(tuple, groups.tolist()))
    return None


def _callees(instruction: Instruction) -> list[str]:
    if instruction.opcode in ("async-update", "async-done"):  # name what their start has called
        return []
    names = _CALLS.findall(instruction.arguments)
    for several, one in _BRANCHES.findall(instruction.arguments):
        names += [name.strip(" %") for name in several.split(",")] if several else [one]
    return names


def _flops(instruction: Instruction, computation: dict[str, Instruction]) -> float:
    if instruction.opcode not in ("convolution", "dot"):
        return 0.0
    operands = _operands(instruction, computation)
    if len(operands) < 2:
        return 0.0
    (_, output), *_ = instruction.shapes
    if instruction.opcode == "dot":
        contracted = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", instruction.arguments)
        axes = [int(n) for n in contracted[1].split(",") if n] if contracted else []
        left = operands[0].shapes[0][1]
        return 2.0 * math.prod(output) * math.prod(left[axis] for axis in axes)
    kernel = operands[1].shapes[0][1]
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
