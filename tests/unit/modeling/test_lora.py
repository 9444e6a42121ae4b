"""modeling.lora: nothing changes at the start, merging changes nothing."""

from typing import Any

import torch
from torch import nn

from modeling.lora import LoraLinear, add_lora, merge_lora


def _model() -> Any:
    torch.manual_seed(0)
    layer = nn.ModuleDict({"qkv": nn.Linear(6, 9), "other": nn.Linear(6, 9)})
    return nn.Sequential(layer)


def test_added_layers_compute_what_they_replace_until_trained() -> None:
    """Only the named layers are replaced, and their answers stay until B is no longer zero."""
    model, values = _model(), torch.rand(4, 6)
    expected = model[0]["qkv"](values)
    assert add_lora(model, rank=2, scale=2.0) == 1
    assert isinstance(model[0]["qkv"], LoraLinear)
    assert isinstance(model[0]["other"], nn.Linear)
    torch.testing.assert_close(model[0]["qkv"](values), expected)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {"0.qkv.down", "0.qkv.up", "0.other.weight", "0.other.bias"}


def test_merging_gives_plain_layers_with_the_same_answers() -> None:
    """After training, a merged model has the original's names and the adapted answers."""
    model, values = _model(), torch.rand(4, 6)
    names = model.state_dict().keys()
    add_lora(model, rank=2, scale=2.0)
    with torch.no_grad():
        model[0]["qkv"].up.normal_()
    expected = model[0]["qkv"](values)
    merge_lora(model)
    assert model.state_dict().keys() == names
    torch.testing.assert_close(model[0]["qkv"](values), expected)
