"""What is read off compiled programs, against programs whose costs are known."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxgan.parallel.hlo import Program, Transfer, memory_of
from jaxgan.parallel.mesh import make_mesh


def lowered(function, *shapes):
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return Program(jax.jit(function).lower(*arguments).as_text("hlo"))


def test_products():
    assert lowered(jnp.dot, (3, 4), (4, 5)).product_flops() == 2 * 3 * 4 * 5
    batched = lowered(lambda a, b: jnp.einsum("bij,bjk->bik", a, b), (7, 3, 4), (7, 4, 5))
    assert batched.product_flops() == 7 * 2 * 3 * 4 * 5


@pytest.mark.parametrize(("stride", "holes"), [(1, 1), (2, 1), (1, 2)])
def test_convolutions(stride, holes):
    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            [(0, 0), (0, 0)],
            lhs_dilation=(holes, holes),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    side = ((12 - 1) * holes + 1 - 3) // stride + 1
    flops = lowered(convolve, (2, 12, 12, 5), (3, 3, 5, 7)).product_flops()
    assert flops == pytest.approx(2 * 2 * side**2 * 9 * 5 * 7 / holes**2)


def test_loops_count_as_often_as_they_run():
    def twice(w, x):
        def body(x, _):
            return jax.lax.scan(lambda x, _: (x @ w, None), x, length=3)[0], None

        return jax.lax.scan(body, x, length=5)[0] @ w

    shapes = [jax.ShapeDtypeStruct((4, 4), jnp.float32)] * 2
    once = 2 * 4**3
    low = jax.jit(twice).lower(*shapes)
    for text in (low.as_text("hlo"), low.compile().as_text()):
        program = Program(text)
        assert program.product_flops() == 16 * once
        assert program.product_flops(unrolled=False) == 2 * once


def test_of_a_conditional_every_branch_counts():
    def maybe(p, x):
        return jax.lax.cond(p[0] > 0, lambda x: x @ x, lambda x: x, x)

    assert lowered(maybe, (1,), (4, 4)).product_flops() == 2 * 4**3


def test_collectives():
    mesh = make_mesh(8, 1)
    split, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (["data"], []))

    def sums(x):
        return jax.lax.scan(lambda x, _: (x + x.sum(), None), x, length=3)[0]

    x = jax.ShapeDtypeStruct((16, 4), jnp.float32, sharding=split)
    program = jax.jit(sums, out_shardings=whole).lower(x).compile()
    found = Program(program.as_text()).collectives()
    assert found["all-reduce"] == {"count": 3, "bytes": 3 * 4}
    assert found["all-gather"] == {"count": 1, "bytes": 16 * 4 * 4}


FUSED = """\
HloModule step, is_scheduled=true

%body (carry: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %carry = (s32[], f32[8,4]) parameter(0)
  %part = f32[8,4] get-tuple-element(%carry), index=1
  %next = s32[] get-tuple-element(%carry), index=0
  %begun = f32[32,4] fusion(%part), kind=kCustom, calls=%first
  %beside.1 = f32[32,4] fusion(%begun), kind=kOutput, calls=%async_collective_fusion.1
  %beside.2 = f32[32,4] fusion(%beside.1), kind=kOutput, calls=%async_collective_fusion.2
  %sum = f32[8,4] all-reduce(%part), channel_id=2, replica_groups={{0,1},{2,3}}, to_apply=%add
  ROOT %out = (s32[], f32[8,4]) tuple(%next, %sum)
}

%first (a: f32[8,4]) -> f32[32,4] {
  %a = f32[8,4] parameter(0)
  ROOT %g1 = f32[32,4] all-gather(%a), channel_id=1, replica_groups=[1,4]<=[4], dimensions={0}, GO
}

%async_collective_fusion.1 (b: f32[32,4]) -> f32[32,4] {
  %b = f32[32,4] parameter(0)
  ROOT %g2 = f32[32,4] all-gather(%b), channel_id=1, replica_groups=[1,4]<=[4], dimensions={0}, GO
}

%async_collective_fusion.2 (c: f32[32,4]) -> f32[32,4] {
  %c = f32[32,4] parameter(0)
  ROOT %g3 = f32[32,4] all-gather(%c), channel_id=1, replica_groups=[1,4]<=[4], dimensions={0}, GO
}

%all-reduce-scatter.5 (d: f32[8,4]) -> f32[2,4] {
  %d = f32[8,4] parameter(0)
  %whole = f32[8,4] all-reduce(%d), channel_id=7, replica_groups=[1,4]<=[4], to_apply=%add
  ROOT %share = f32[2,4] dynamic-slice(%whole), dynamic_slice_sizes={2,4}
}

%condition (e: (s32[], f32[8,4])) -> pred[] {
  %e = (s32[], f32[8,4]) parameter(0)
  ROOT %less = pred[] constant(true)
}

ENTRY %main (x: f32[8,4]) -> f32[8,4] {
  %x = f32[8,4] parameter(0)
  %zero = s32[] constant(0)
  %start = (s32[], f32[8,4]) tuple(%zero, %x)
  %loop = (s32[], f32[8,4]) while(%start), body=%body, condition=%condition, TRIPS
  %scattered = f32[2,4] fusion(%x), kind=kCustom, calls=%all-reduce-scatter.5
  %plain.1 = f32[8,4] all-gather(%scattered), replica_groups={{0,1,2,3}}, dimensions={0}
  %plain.2 = f32[8,4] all-gather(%scattered), replica_groups={{0,1,2,3}}, dimensions={0}
  ROOT %y = f32[8,4] get-tuple-element(%loop), index=1
}
""".replace("GO", 'backend_config={"async_collective_fusion_config":{"flag_start":"2"}}').replace(
    "TRIPS", 'backend_config={"known_trip_count":{"n":"5"}}'
)


def test_a_collective_counts_once_however_often_the_text_repeats_it():
    program = Program(FUSED)
    assert program.collectives() == {
        "all-gather": {"count": 5 + 2, "bytes": 5 * 32 * 4 * 4 + 2 * 8 * 4 * 4},
        "all-reduce": {"count": 5, "bytes": 5 * 8 * 4 * 4},
        "reduce-scatter": {"count": 1, "bytes": 2 * 4 * 4},
    }
    hidden = {(each.kind, each.count): each.hidden for each in program.transfers}
    assert hidden == {
        ("all-gather", 5): True,
        ("all-gather", 1): False,
        ("all-reduce", 5): False,
        ("reduce-scatter", 1): False,
    }


STARTED = """\
HloModule step, is_scheduled=true

%wrapped (a: f32[8]) -> f32[2] {
  %a = f32[8] parameter(0)
  ROOT %scatter = f32[2] reduce-scatter(%a), channel_id=4, replica_groups={{0,1,2,3}}, to_apply=%add
}

ENTRY %main (x: f32[2], z: f32[8]) -> f32[8] {
  %x = f32[2] parameter(0)
  %z = f32[8] parameter(1)
  %g = (f32[2], f32[8]) all-gather-start(%x), channel_id=1, replica_groups={{0,1,2,3}}
  %work = f32[8] multiply(%z, %z)
  %g.end = f32[8] all-gather-done(%g)
  %r = f32[8] all-reduce-start(%work), channel_id=2, replica_groups={{0,1,2,3}}, to_apply=%add
  %r.end = f32[8] all-reduce-done(%r)
  %p = (f32[8], f32[8], u32[]) collective-permute-start(%z), channel_id=3, \
source_target_pairs={{0,1},{1,0}}
  %s = ((f32[8]), f32[2], u32[]) async-start(%r.end), calls=%wrapped
  %more = f32[8] add(%z, %z)
  %s.end = f32[2] async-done(%s), calls=%wrapped
  %p.end = f32[8] collective-permute-done(%p)
  ROOT %y = f32[8] add(%g.end, %p.end)
}
"""


def test_of_a_start_and_its_done_the_result_counts():
    program = Program(STARTED)
    assert program.collectives() == {
        "all-gather": {"count": 1, "bytes": 32},
        "all-reduce": {"count": 1, "bytes": 32},
        "collective-permute": {"count": 1, "bytes": 32},
        "reduce-scatter": {"count": 1, "bytes": 8},
    }
    assert {each.kind: each.hidden for each in program.transfers} == {
        "all-gather": True,
        "all-reduce": False,  # its end follows at once
        "collective-permute": True,
        "reduce-scatter": True,
    }


@pytest.mark.parametrize(
    ("written", "groups"),
    [
        ("replica_groups={{0,1},{2,3}}", ((0, 1), (2, 3))),
        ("replica_groups=[2,2]<=[4]", ((0, 1), (2, 3))),
        ("replica_groups=[2,4]<=[2,2,2]T(1,0,2)", ((0, 1, 4, 5), (2, 3, 6, 7))),
        ("replica_groups=mesh['axis_0'=2,'axis_1'=2] {'axis_0'}", ((0, 2), (1, 3))),
        ("replica_groups=mesh['a'=2,'b'=2,'c'=2] {'c','a'}", ((0, 4, 1, 5), (2, 6, 3, 7))),
        ("replica_groups={}", None),
        ("replica_groups=mesh['axis_0'=8] {'axis_0':(1)2}", None),
    ],
)
def test_groups(written, groups):
    line = f"  ROOT %r = f32[8] all-reduce(%x), channel_id=1, {written}, to_apply=%add"
    (found,) = Program(f"ENTRY %main (x: f32[8]) -> f32[8] {{\n{line}\n}}").transfers
    assert found.groups == groups


@pytest.mark.parametrize(
    ("kind", "size", "alone", "shared"),
    [  # four devices; alone: one a chip; shared: two a chip
        ("all-gather", 400, 300, 200),
        ("reduce-scatter", 100, 300, 200),
        ("all-reduce", 400, 600, 400),
        ("all-to-all", 400, 300, 400),  # what two devices of a chip receive from the other chip
        ("collective-broadcast", 400, 300, 200),
    ],
)
def test_what_a_chip_receives(kind, size, alone, shared):
    for groups in (None, ((0, 1, 2, 3),)):
        transfer = Transfer(kind, 1, size, groups, hidden=False)
        assert transfer.received([0, 1, 2, 3]) == alone
        assert transfer.received([0, 0, 1, 1]) == shared
    apart = Transfer("all-gather", 1, 400, ((0, 2), (1, 3)), hidden=False)
    assert apart.received([0, 0, 1, 1]) == 400  # each core gathers something else


def test_what_stays_on_a_chip_crosses_no_link():
    within = Transfer("all-reduce", 1, 400, ((0, 1), (2, 3)), hidden=False)
    assert within.received([0, 0, 1, 1]) == 0
    ring = Transfer("collective-permute", 1, 400, ((0, 1), (1, 2), (2, 3), (3, 0)), hidden=False)
    assert ring.received([0, 1, 2, 3]) == 400
    assert ring.received([0, 0, 1, 1]) == 400
    assert ring.received([0, 0, 0, 0]) == 0


def test_memory():
    assert memory_of(
        "BufferAssignment:\n"
        "allocation 0: size 100, parameter 3, shape |f32[25]| at ShapeIndex {}, maybe-live-out:\n"
        " value: <24 copy.3 @0> (size=7,offset=0): f32[1]{0}\n"
        "allocation 1: size 20, parameter 4, shape |f32[5]| at ShapeIndex {}:\n"
        "allocation 2: size 8, output shape is |(f32[25], f32[])|, maybe-live-out:\n"
        "allocation 3: size 4, maybe-live-out:\n"
        "allocation 4: size 512, thread-local:\n"
        "allocation 5: size 60, constant:\n"
        "allocation 6: size 4096, color 1, preallocated-temp:\n"
        "allocation 7: size 1000, preallocated-temp:\n"
    ) == (120, 112, 100, 1000)


STORED = """\
HloModule step, is_scheduled=true

ENTRY %main (x: f32[3,3], y: bf16[4]) -> f32[3,3] {
  %x = f32[3,3]{0,1:T(8,128)} parameter(0)
  %y = bf16[4]{0} parameter(1)
  %a = f32[3,3]{0,1:T(8,128)} add(%x, %x)
  %s = (f32[4]{0:T(256)S(1)}, f32[4]{0:T(256)}, u32[]) copy-start(%a)
  %b = f32[4]{0:T(256)S(1)} copy-done(%s)
  %f = (bf16[4]{0}, f32[8]{0}) fusion(%y, %b), output_to_operand_aliasing={{0}: (0, {})}, calls=%g
  %e = f32[8]{0} get-tuple-element(%f), index=1
  ROOT %r = f32[3,3]{0,1:T(8,128)} copy(%a)
}
"""


def test_traffic_counts_tiles_and_not_what_is_handed_on():
    tile = 8 * 128 * 4
    add, move, fusion, copy = 3 * tile, 2 * 256 * 4, 256 * 4 + 8 * 4, 2 * tile
    assert Program(STORED).traffic() == add + move + fusion + copy


def test_traffic_is_nearly_what_xla_counts():
    x = jax.ShapeDtypeStruct((256, 256), jnp.float32)
    compiled = jax.jit(lambda x, y: jnp.tanh(x @ y) + x).lower(x, x).compile()
    counted = Program(compiled.as_text()).traffic()
    assert counted == pytest.approx(compiled.cost_analysis()["bytes accessed"], rel=0.1)
