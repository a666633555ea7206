"""The detections of torchvision's detectors with one stage, computed so that torch.export can follow."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection import FCOS, RetinaNet
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD
from torchvision.ops import clip_boxes_to_image

from trainworks.errors import UsageError

MAX_CANDIDATES = 300  # boxes of an image before suppression, those with the greatest scores
NUM_ROUNDS = 32  # of suppression; a box waits for those before it that overlap it, and they for others


def dense_detections(net: Any, images: Tensor, threshold: float) -> dict[str, Tensor]:
    """Return what an FCOS, RetinaNet or SSD finds with a score of at least `threshold`, in tensors of fixed size.

    They are those of the network itself where `is_exact` says so: no more than 300 boxes of an image had such a score.

    Args:
        net: The network, in eval mode.
        images: As the network takes them, but of one size, shape (B, C, H, W).
        threshold: In [0, 1].

    Returns:
        boxes (corners x1, y1, x2, y2 in pixels, shape (B, D, 4)), labels and scores (B, D), with the greatest score
        first and 0 where there are none; `count`, the number of boxes, `num_candidates`, that before suppression, and
        `is_exact`, all (B,).

    Raises:
        UsageError: If it is another network.
    """
    if not isinstance(net, FCOS | RetinaNet | SSD):
        why = (
            "the number of its boxes depends on the image" if hasattr(net, "rpn") else "nobody knows how it finds boxes"
        )
        raise UsageError(f"{type(net).__name__} cannot be exported: {why}; FCOS, RetinaNet and SSD can")
    tensor, size = _fitted(net.transform, images)
    features = net.backbone(tensor)
    features = list(features.values()) if isinstance(features, dict) else [features]
    found = net.head(features)
    anchors = net.anchor_generator(ImageList(tensor[:1], [size]), features)[0]
    scores = _scores(net, found)
    scores = torch.where((scores >= threshold) & (scores > net.score_thresh), scores, 0.0)
    top, places = scores.flatten(1).topk(min(MAX_CANDIDATES, scores[0].numel()))
    labels, places = places % scores.shape[2], places // scores.shape[2]
    deltas = found["bbox_regression"].gather(1, places[..., None].expand(-1, -1, 4)).flatten(0, 1)
    decode = net.box_coder.decode if isinstance(net, FCOS) else net.box_coder.decode_single
    boxes = clip_boxes_to_image(decode(deltas, anchors[places.flatten()]), size).unflatten(0, (-1, top.shape[1]))
    keep, is_final = _not_suppressed(boxes, labels, top > 0, net.nms_thresh)
    num_candidates = (scores > 0).flatten(1).sum(1)
    kept, order = torch.where(keep, top, 0.0).topk(min(net.detections_per_img, top.shape[1]))
    is_box = kept > 0
    scale = [old / new for old, new in zip(images.shape[:1:-1], size[::-1], strict=True)] * 2
    boxes = boxes.gather(1, order[..., None].expand(-1, -1, 4)) * boxes.new_tensor(scale)
    return {
        "boxes": boxes * is_box[..., None],
        "labels": labels.gather(1, order) * is_box,
        "scores": kept,
        "count": is_box.sum(1),
        "is_exact": is_final & (num_candidates <= top.shape[1]),
        "num_candidates": num_candidates,
    }


def _fitted(transform: Any, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Do what a GeneralizedRCNNTransform does, with images of one size; return them, padded, and height and width."""
    images = transform.normalize(images)
    if transform.fixed_size is not None:
        how: Any = {"size": transform.fixed_size[::-1]}
    else:
        sides = images.shape[-2:]
        scale = min(transform.min_size[-1] / min(sides), transform.max_size / max(sides))
        how = {"scale_factor": scale, "recompute_scale_factor": True}
    images = F.interpolate(images, mode="bilinear", align_corners=False, **how)
    height, width = images.shape[-2:]
    down, across = (-side % transform.size_divisible for side in (height, width))
    return F.pad(images, (0, across, 0, down)), (height, width)


def _scores(net: Any, found: dict[str, Tensor]) -> Tensor:
    """Return the score of each class for each anchor, shape (B, A, K), with 0 for the background of an SSD."""
    if isinstance(net, SSD):
        scores = found["cls_logits"].softmax(-1)
        return scores * (torch.arange(scores.shape[-1], device=scores.device) > 0)
    scores = found["cls_logits"].sigmoid()
    return (scores * found["bbox_ctrness"].sigmoid()).sqrt() if isinstance(net, FCOS) else scores


def _not_suppressed(boxes: Tensor, labels: Tensor, is_box: Tensor, least: float) -> tuple[Tensor, Tensor]:
    """Suppress boxes, sorted by score, that overlap a better one of their class by more than `least`.

    Returned is which ones are left, (B, K), and whether that is final, (B,): each round settles at least those boxes
    that are suppressed only by settled ones, so that nothing changes any more once a round changes nothing.
    """
    upper = torch.maximum(boxes[:, :, None, :2], boxes[:, None, :, :2])
    lower = torch.minimum(boxes[:, :, None, 2:], boxes[:, None, :, 2:])
    shared = (lower - upper).clamp(min=0).prod(-1)
    areas = (boxes[..., 2:] - boxes[..., :2]).prod(-1)
    later = torch.ones(boxes.shape[1], boxes.shape[1], dtype=torch.bool, device=boxes.device).triu(1)
    overlaps = shared > least * (areas[:, :, None] + areas[:, None] - shared)
    suppresses = (overlaps & (labels[:, :, None] == labels[:, None]) & later).to(boxes.dtype)
    before = keep = is_box
    for _ in range(NUM_ROUNDS):
        before, keep = keep, is_box & ((keep.to(boxes.dtype)[:, None] @ suppresses)[:, 0] < 0.5)
    return keep, (keep == before).all(dim=1)
