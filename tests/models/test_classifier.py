from functools import partial

import pytest
import torch
from torch import nn

from src.models.classifier import ClassifierModule


def make_module(loss: nn.Module) -> ClassifierModule:
    return ClassifierModule(nn.Identity(), loss, partial(torch.optim.SGD, lr=0.1))


def test_soft_targets_reach_the_loss_and_their_greatest_share_the_metrics() -> None:
    logits = torch.randn(4, 3)
    soft = torch.tensor([[0.7, 0.3, 0], [0, 0.1, 0.9], [0, 1, 0], [0.4, 0.6, 0]])
    loss, outputs, classes = make_module(nn.CrossEntropyLoss()).step((logits, soft))
    assert loss == pytest.approx(float(-(soft * logits.log_softmax(dim=1)).sum(dim=1).mean()))
    assert outputs is logits
    assert classes.tolist() == [0, 2, 1, 1]
