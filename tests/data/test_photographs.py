import importlib.util

import numpy as np
import pytest

from jaxgan.data import photographs
from jaxgan.data.source import open_source
from jaxgan.errors import UserError
from jaxgan.fields import Image, Label


def test_sets_share_no_photograph_with_those_held_out():
    held = set(photographs.SETS["held"])
    assert not held & {*photographs.SETS["content"], *photographs.SETS["style"]}
    source = open_source("photos:held")
    assert [item["image"].shape for item in source] == [(512, 512, 3)] * 2
    assert all(photographs.path(f).is_file() for files in photographs.SETS.values() for f in files)


def test_each_style_is_a_class_and_grey_ones_have_three_channels():
    source = open_source("photos:style")
    assert isinstance(source.columns["image"], Image)
    label = source.columns["label"]
    assert isinstance(label, Label)
    assert label.names[3:5] == ("flower", "brick")
    assert [int(source[i]["label"]) for i in range(len(source))] == list(range(10))
    assert {item["image"].shape[2] for item in source} == {3}


def test_orders_of_channels():
    source = open_source("photos:recoloured")
    files = photographs.SETS["content"] + photographs.SETS["style"]
    assert len(source) == 9 * 6 + 7 < len(files) * 6
    np.testing.assert_array_equal(source[1]["image"], source[0]["image"][..., [0, 2, 1]])


def test_what_is_not_there(monkeypatch):
    with pytest.raises(UserError, match=r"photos:styl: .*did you mean style"):
        open_source("photos:styl")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"scikit-image, which is not installed: pip install"):
        open_source("photos:content")
