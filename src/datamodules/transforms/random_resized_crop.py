from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.ops import roi_align
from torchvision.transforms import v2

from src.datamodules.transforms.drawn import images_of, not_boxes, of_type


class RandomResizedCrop(v2.Transform):
    """Cut a rectangle of random area and proportions out of each image and bring it to one size (arXiv:1409.4842).

    Images are averaged over the pixels that fall together; masks take the nearest one.

    Args:
        size: Height and width of the result in pixels.
        scale: Least and greatest share of the area that is kept, in (0, 1].
        ratio: Least and greatest proportion of width to height.
    """

    def __init__(
        self, size: int, scale: tuple[float, float] = (0.35, 1.0), ratio: tuple[float, float] = (0.75, 1.33)
    ) -> None:
        super().__init__()
        if size < 1 or not 0 < scale[0] <= scale[1] <= 1 or not 0 < ratio[0] <= ratio[1]:
            raise ValueError(
                "RandomResizedCrop: size must be at least 1, scale in (0, 1] and ratio above 0, each from low to high; "
                f"got size {size}, scale {scale}, ratio {ratio}"
            )
        self.size, self.scale, self.ratio = size, scale, ratio

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw a rectangle for every sample: x1, y1, x2, y2 in pixels, shape (B, 4)."""
        images = images_of(flat_inputs)
        height, width = images.shape[-2:]
        area, proportion, x, y = torch.rand(4, len(images), device=images.device)
        area = height * width * (self.scale[0] + area * (self.scale[1] - self.scale[0]))
        low, high = torch.tensor(self.ratio).log().tolist()
        proportion = (low + proportion * (high - low)).exp()
        wide = (area * proportion).sqrt().clamp(1, width)
        high_ = (area / proportion).sqrt().clamp(1, height)
        left, top = x * (width - wide), y * (height - high_)
        return {"boxes": torch.stack([left, top, left + wide, top + high_], dim=1)}

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        """Crop images of shape (B, C, H, W), or masks of shape (B, ..., H, W)."""
        boxes, size = params["boxes"], self.size
        if isinstance(not_boxes(inpt), tv_tensors.Mask):
            return of_type(_nearest(inpt, boxes, size), inpt)
        rows = torch.arange(len(inpt), device=inpt.device)[:, None].float()
        floats = inpt if inpt.is_floating_point() else inpt.float()
        result = roi_align(floats, torch.cat([rows, boxes], dim=1).to(floats), size, aligned=True)
        return of_type(result if inpt.is_floating_point() else result.round().to(inpt.dtype), inpt)


def _nearest(masks: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Return the pixel nearest to each of size x size points in each box, for masks of shape (B, ..., H, W)."""
    steps = (torch.arange(size, device=masks.device) + 0.5) / size
    left, top, right, bottom = boxes[:, :, None].unbind(1)
    x = (left + steps * (right - left)).long().clamp(max=masks.shape[-1] - 1)
    y = (top + steps * (bottom - top)).long().clamp(max=masks.shape[-2] - 1)
    rows = torch.arange(len(masks), device=masks.device)[:, None, None]
    moved = masks.as_subclass(Tensor).movedim((-2, -1), (1, 2))  # (B, H, W, ...)
    chosen: Tensor = moved[rows, y[:, :, None], x[:, None, :]]
    return chosen.movedim((1, 2), (-2, -1))
