"""Several fine-tuned models as one (Wortsman et al., "Model soups", 2022): the mean of their weights."""

import copy
from collections.abc import Sequence

import torch
from torch import nn


@torch.no_grad()
def soup(models: Sequence[nn.Module]) -> nn.Module:
    """The mean of the weights of models that were fine-tuned from one base; the models stay as they are.

    Args:
        models: at least one, of one architecture, in evaluation mode.
    """
    mean = copy.deepcopy(models[0])
    states = [model.state_dict() for model in models]
    for name, tensor in mean.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.stack([state[name] for state in states]).mean(0))
    # What an encoder derives from its weights on eval(), it derives from the new ones.
    return mean.train().eval()
