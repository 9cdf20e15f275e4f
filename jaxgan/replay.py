"""Traced programs evaluated anew, one equation after the other, some by other rules."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from jax.extend import core

Bind = Callable[[core.JaxprEqn, Sequence[Any]], Sequence[Any]]
"""What an equation gives by itself for these inputs."""

Rule = Callable[[core.JaxprEqn, Sequence[Any], Bind], Sequence[Any]]
"""What an equation shall give for these inputs."""


def replay(program: core.ClosedJaxpr, args: Sequence[Any], rule: Rule) -> list[Any]:
    """What a traced program gives for these arguments, by a rule for its equations."""
    jaxpr = program.jaxpr
    known = [*jaxpr.constvars, *jaxpr.invars]
    values = dict(zip(known, [*program.consts, *args], strict=True))

    def read(variable: Any) -> Any:
        return variable.val if isinstance(variable, core.Literal) else values[variable]

    for equation in jaxpr.eqns:
        made = rule(equation, [read(v) for v in equation.invars], partial(_bound, jaxpr))
        values.update(zip(equation.outvars, made, strict=True))
    return [read(v) for v in jaxpr.outvars]


def _bound(of: core.Jaxpr, equation: core.JaxprEqn, given: Sequence[Any]) -> Sequence[Any]:
    args = list(zip(equation.invars, given, strict=True))
    inputs = [core.Literal(x, v.aval) if isinstance(v, core.Literal) else v for v, x in args]
    variables = {v: x for v, x in args if not isinstance(v, core.Literal)}
    alone = of.replace(
        constvars=[],
        invars=list(variables),
        outvars=equation.outvars,
        eqns=[equation.replace(invars=inputs)],
    )
    return core.jaxpr_as_fun(core.ClosedJaxpr(alone, ()))(*variables.values())
