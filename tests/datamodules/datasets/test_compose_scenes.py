import numpy as np
import torch
from torchvision.ops import box_iou, masks_to_boxes

from src.datamodules.datasets.compose_scenes import Scenes, compose_scenes

RANDOM = np.random.default_rng(0)
DIGITS = np.repeat(np.repeat(RANDOM.integers(0, 2, (6, 4, 4), dtype=np.uint8) * 255, 2, axis=1), 2, axis=2)
CLASSES = np.array([0, 3, 9, 3, 5, 0])


def make_scenes(count: int = 40, seed: tuple[int, int] = (0, 0)) -> Scenes:
    return compose_scenes(DIGITS, CLASSES, count, size=64, max_digits=5, seed=seed)


def test_masks_and_boxes_say_the_same_to_the_pixel() -> None:
    scenes = make_scenes()
    assert (scenes.images.shape, scenes.images.dtype) == ((40, 3, 64, 64), torch.uint8)
    counts = (scenes.labels > 0).sum(dim=1)
    assert (int(counts.min()), int(counts.max())) == (1, 5)
    for mask, boxes, labels, count in zip(scenes.masks, scenes.boxes, scenes.labels, counts.tolist(), strict=True):
        covered = torch.zeros_like(mask)
        for box, label in zip(boxes[:count], labels[:count].tolist(), strict=True):
            x1, y1, x2, y2 = box.long().tolist()
            inside = mask[y1:y2, x1:x2]
            assert set(inside.unique().tolist()) <= {0, label}
            tight = masks_to_boxes(inside[None] > 0)[0] + torch.tensor([x1, y1, x1 + 1, y1 + 1])
            assert torch.equal(tight, box)
            covered[y1:y2, x1:x2] = inside
        assert torch.equal(covered, mask)
        overlaps = box_iou(boxes[:count], boxes[:count]).fill_diagonal_(0)
        assert float(overlaps.max()) == 0
        assert not boxes[count:].any() and not labels[count:].any()
    assert set(scenes.labels.unique().tolist()) == {0, 1, 4, 6, 10}


def test_digits_are_brighter_than_what_is_around_them() -> None:
    scenes = make_scenes()
    brightness, inside = scenes.images.float().mean(dim=1), scenes.masks > 0
    assert brightness[inside].mean() > brightness[~inside].mean() + 40


def test_each_scene_is_a_function_of_seed_and_number() -> None:
    some, more = make_scenes(5), make_scenes(10)
    assert all(torch.equal(one, other[:5]) for one, other in zip(some, more, strict=True))
    assert len(torch.unique(more.images, dim=0)) == 10
    for seed in ((1, 0), (0, 1)):
        assert not torch.equal(some.boxes, make_scenes(5, seed).boxes)
