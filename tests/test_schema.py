import dataclasses
from pathlib import Path

import pytest

from jaxgan import schema
from jaxgan.errors import UserError


@dataclasses.dataclass(frozen=True)
class Facts:
    counts: dict[str, int]


def test_mistakes_beyond_a_few_are_counted():
    with pytest.raises(UserError, match=r"; 95 more\): restore it$") as caught:
        schema.structure({"counts": {f"n{i}": "x" for i in range(100)}}, Facts, Path("facts.json"))
    assert len(str(caught.value)) < 400


def test_other_keys_are_left_out_or_refused():
    value = {"counts": {"a": 1}, "new": 2}
    path = Path("facts.json")
    assert schema.structure(value, Facts, path, others=True) == Facts({"a": 1})
    with pytest.raises(UserError, match="new"):
        schema.structure(value, Facts, path)
