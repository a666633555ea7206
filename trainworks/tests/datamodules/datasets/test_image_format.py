import pytest
import torch

from trainworks.datamodules.datasets.image_format import ImageFormat

SIZES = [(40, 20), (21, 40), (24, 24), (7, 5), (33, 64)]


@pytest.mark.parametrize("fit", ["crop", "stretch", "pad"])
@pytest.mark.parametrize("size", SIZES)
def test_masks_and_boxes_go_where_the_image_goes(size: tuple[int, int], fit: str) -> None:
    height, width = size
    image, mask = torch.zeros(1, height, width, dtype=torch.uint8), torch.zeros(height, width, dtype=torch.uint8)
    image[0, height // 4 : height // 2 + 1, width // 3 : width // 2 + 1] = 255
    mask[height // 4 : height // 2 + 1, width // 3 : width // 2 + 1] = 1
    box = torch.tensor([[width // 3, height // 4, width // 2 + 1, height // 2 + 1]]).float()
    place = ImageFormat(24, fit).place(height, width)  # type: ignore[arg-type]
    fitted, classes = place.fit(image)[0], place.fit_mask(mask, 255)
    assert fitted.shape == classes.shape == (24, 24)
    assert ((fitted > 128) == (classes == 1)).float().mean() > 0.97  # edges are blended in one of them
    (left, top, right, bottom), inside = place.fit_boxes(box)[0].tolist(), classes == 1
    rows, columns = inside.any(dim=1).nonzero().flatten().tolist(), inside.any(dim=0).nonzero().flatten().tolist()
    assert abs(rows[0] - max(top, 0)) <= 1 and abs(rows[-1] + 1 - min(bottom, 24)) <= 1
    assert abs(columns[0] - max(left, 0)) <= 1 and abs(columns[-1] + 1 - min(right, 24)) <= 1
    assert torch.allclose(place.original_boxes(place.fit_boxes(box)), box, atol=1e-4)


@pytest.mark.parametrize("fit", ["crop", "stretch", "pad"])
def test_a_mask_goes_back_to_where_its_image_was(fit: str) -> None:
    mask = torch.arange(4, dtype=torch.uint8).reshape(2, 2).repeat_interleave(24, 0).repeat_interleave(40, 1)
    place = ImageFormat(40, fit).place(*mask.shape)  # type: ignore[arg-type]
    found = place.original_mask(place.fit_mask(mask, 255))
    inside = found != 255
    assert found.shape == mask.shape and torch.equal(found[inside], mask[inside])
    assert inside.all() == (fit != "crop") and inside[:, 20:60].all()


def test_what_lies_outside_of_an_image_belongs_to_no_class() -> None:
    place = ImageFormat(10, "pad").place(10, 40)
    classes = place.fit_mask(torch.ones(10, 40, dtype=torch.uint8), 255)
    assert place.resized == (2, 10) and place.corner == (4, 0)
    assert (classes == 255).sum() == 80 and (classes[4:6] == 1).all()
    assert (place.fit(torch.full((3, 10, 40), 9, dtype=torch.uint8))[0] == 9).sum() == 20
