import threading

import pytest

from jaxgan.ahead import one_ahead, one_behind


def test_an_item_is_made_while_the_one_before_is_used():
    begun = [threading.Event() for _ in range(4)]

    def numbers():
        for number in range(3):
            begun[number].set()
            yield number
        begun[3].set()

    seen = []
    for number in one_ahead(numbers()):
        assert begun[number + 1].wait(timeout=60)
        assert number >= 2 or not begun[number + 2].is_set()
        seen.append(number)
    assert seen == [0, 1, 2]


def test_what_fails_is_raised_where_it_would_be_used():
    def numbers():
        yield 0
        raise ValueError("no second")

    items = one_ahead(numbers())
    assert next(items) == 0
    with pytest.raises(ValueError, match="no second"):
        next(items)
    assert list(one_ahead([])) == []


def test_an_item_is_used_once_the_next_is_made():
    made = []

    def numbers():
        for number in range(3):
            made.append(number)
            yield number

    assert [(number, len(made)) for number in one_behind(numbers())] == [(0, 2), (1, 3), (2, 3)]
    assert list(one_behind([])) == []
