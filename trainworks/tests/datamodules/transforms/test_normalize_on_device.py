import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from trainworks.datamodules.transforms.apply import apply_transforms, normalize_on_device

CPU = torch.device("cpu")
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("inplace", [False, True])
def test_figures_are_those_of_torchvision(dtype: torch.dtype, inplace: bool) -> None:
    theirs = v2.Normalize(MEAN, STD, inplace=inplace)
    (ours,) = normalize_on_device([theirs], CPU)
    assert isinstance(ours, v2.Normalize) and torch.is_tensor(ours.mean) and torch.is_tensor(ours.std)
    assert (theirs.mean, theirs.std) == (MEAN, STD)
    images = torch.rand(4, 3, 5, 6).to(dtype)
    targets = torch.arange(4)
    for form in (torch.as_tensor, tv_tensors.Image):
        expected, given = theirs(form(images.clone()), targets), form(images.clone())
        result = ours(given, targets)
        assert torch.equal(result[0], expected[0])
        assert (type(result[0]), result[0].dtype) == (type(expected[0]), dtype)
        assert torch.equal(result[1], targets)
        assert torch.equal(given, result[0]) == inplace


def test_masks_stay_as_they_are() -> None:
    images, masks = torch.rand(2, 3, 4, 4), torch.ones(2, 4, 4, dtype=torch.int64)
    shown, kept = apply_transforms(normalize_on_device([v2.Normalize(MEAN, STD)], CPU), (images, masks))
    assert torch.equal(kept, masks)
    assert torch.equal(shown, v2.Normalize(MEAN, STD)(images))


def test_what_is_wrong_is_said_as_before() -> None:
    (ours,) = normalize_on_device([v2.Normalize([0.5], [0.5])], CPU)
    with pytest.raises(TypeError, match="should be a float tensor"):
        ours(torch.zeros(2, 1, 4, 4, dtype=torch.uint8))
    zero, other = v2.Normalize([0.5], [0.0]), v2.Resize(3)
    assert normalize_on_device([zero, other], CPU) == [zero, other]
