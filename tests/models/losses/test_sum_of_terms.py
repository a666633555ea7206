import pytest
import torch

from src.models.losses.sum_of_terms import SumOfTerms


def test_terms_are_added_with_their_weights() -> None:
    terms = {"a": torch.tensor(1.0, requires_grad=True), "b": torch.tensor(2.0)}
    assert SumOfTerms()(terms, []).item() == 3
    total = SumOfTerms({"b": 0.5})(terms)
    (gradient,) = torch.autograd.grad(total, terms["a"])
    assert (total.item(), gradient.item(), total.shape) == (2, 1, ())


def test_a_weight_for_no_term() -> None:
    message = r"weights name 'box' \(did you mean boxes\?\); the network's terms are boxes, k"
    with pytest.raises(ValueError, match=message):
        SumOfTerms({"box": 2.0})({"k": torch.zeros(()), "boxes": torch.zeros(())})
