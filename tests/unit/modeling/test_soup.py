"""modeling.soup: fine-tuned models averaged."""

import torch

from modeling.soup import soup
from tests.unit.modeling.tiny_task import tiny_sam


def test_every_weight_is_the_mean() -> None:
    """Two models become one between them; a single one stays what it was, and none is changed."""
    first, second = tiny_sam(0), tiny_sam(1)
    before = {name: tensor.clone() for name, tensor in first.state_dict().items()}
    mean = soup([first, second])
    assert not mean.training
    for name, tensor in mean.state_dict().items():
        torch.testing.assert_close(tensor, (first.state_dict()[name] + second.state_dict()[name]) / 2)
        torch.testing.assert_close(soup([first]).state_dict()[name], before[name], rtol=0, atol=0)
        assert torch.equal(first.state_dict()[name], before[name])
