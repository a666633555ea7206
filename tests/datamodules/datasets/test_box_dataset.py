import numpy as np
import pytest
import torch

from src.datamodules.datasets.box_dataset import BoxDataset


def make_dataset() -> BoxDataset:
    boxes = torch.arange(24).float().reshape(3, 2, 4)
    return BoxDataset(torch.arange(3).view(3, 1, 1, 1), boxes, torch.tensor([[1, 2], [3, 0], [0, 0]]), ["background"])


def test_a_batch_holds_what_its_samples_hold() -> None:
    data = make_dataset()
    images, targets = data.__getitems__(np.array([2, 0, 1]))
    assert images.flatten().tolist() == [2, 0, 1]
    assert [target["labels"].tolist() for target in targets] == [[], [1, 2], [3]]
    assert [target["boxes"].shape for target in targets] == [(0, 4), (2, 4), (1, 4)]
    image, target = data[1]
    assert torch.equal(image, images[2])
    assert torch.equal(target["boxes"], targets[2]["boxes"])
    assert target["boxes"].tolist() == [[8, 9, 10, 11]]


def test_a_subset_keeps_images_and_boxes_together() -> None:
    part = make_dataset().subset(np.array([1, 0]))
    assert (len(part), part.classes) == (2, ["background"])
    assert (int(part[0][0]), part[0][1]["labels"].tolist()) == (1, [3])
    assert (int(part[1][0]), part[1][1]["labels"].tolist()) == (0, [1, 2])


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="images, boxes and labels must have one length, got 2, 3 and 3"):
        BoxDataset(torch.zeros(2, 1, 1, 1), torch.zeros(3, 1, 4), torch.zeros(3, 1))
