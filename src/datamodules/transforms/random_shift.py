from typing import Any

from torch import Tensor, nn
from torchvision.transforms import v2

from src.datamodules.transforms.drawn import cut, draw_corners, images_of, not_boxes, of_type


class RandomShift(v2.Transform):
    """Shift each image by its own random offset; what comes in at the edge is filled.

    The same as padding and then cropping at a random place (torchvision's RandomCrop with padding).

    Args:
        pixels: Largest shift in each direction, at least 1.
        fill: Value of the new pixels, in the images' own range.
    """

    def __init__(self, pixels: int, fill: float = 0) -> None:
        super().__init__()
        if pixels < 1:
            raise ValueError(f"RandomShift: pixels must be at least 1, got {pixels}")
        self.pixels, self.fill = pixels, fill

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw an offset for every sample: two tensors of shape (B,), values in [0, 2 * pixels]."""
        return draw_corners(images_of(flat_inputs), 2 * self.pixels + 1, 2 * self.pixels + 1)

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        """Shift images of shape (B, ..., H, W)."""
        padded = nn.functional.pad(not_boxes(inpt), [self.pixels] * 4, value=self.fill)
        return of_type(cut(padded, params, *inpt.shape[-2:]), inpt)
