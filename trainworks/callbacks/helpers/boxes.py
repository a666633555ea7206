from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_iou


def judge_boxes(predictions: Any, targets: Any) -> tuple[Tensor, Any]:
    """Return how bad a detector's answers are, shape (B,), 0 for right, and the boxes that it is sure of."""
    sure = [{key: value[found["scores"] > 0.5] for key, value in found.items()} for found in predictions]
    pairs = zip(sure, targets, strict=True)
    return torch.tensor([_unmatched(answer, target) for answer, target in pairs]), sure


def _unmatched(answer: dict[str, Tensor], target: dict[str, Tensor]) -> float:
    """Return the share of boxes, of truth and answer, that half overlap no box of the same class of the other."""
    total = len(answer["boxes"]) + len(target["boxes"])
    if not len(answer["boxes"]) or not len(target["boxes"]):
        return float(total > 0)
    overlap = box_iou(answer["boxes"], target["boxes"]) > 0.5
    overlap &= answer["labels"][:, None] == target["labels"][None]
    return 1.0 - int(overlap.any(dim=0).sum() + overlap.any(dim=1).sum()) / total
