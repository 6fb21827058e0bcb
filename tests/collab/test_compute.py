from __future__ import annotations

import pytest
import torch

from collab.compute import as_device, pick_device
from collab.errors import ScenarioError


def test_a_device_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert str(pick_device("auto")) == "cpu"
    with pytest.raises(ScenarioError, match=r"compute\.device is cuda, but torch finds no such GPU here"):
        pick_device("cuda")


@pytest.mark.parametrize(("units", "precision"), [(True, "bfloat16"), (False, "float32")])
def test_auto_takes_bfloat16_where_the_chip_has_units_for_it(units, precision, monkeypatch):
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: units, raising=False)
    assert pick_device("cpu", "auto").precision == precision
    assert pick_device("cpu").precision == "float32"


def test_a_device_of_torch_is_one_of_ours():
    assert as_device("cpu").torch == torch.device("cpu")
    assert as_device(as_device("cpu")) == as_device(torch.device("cpu"))
