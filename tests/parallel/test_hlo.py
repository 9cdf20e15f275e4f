"""What is read off compiled programs, against programs whose costs are known."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxgan.parallel.hlo import Program
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
