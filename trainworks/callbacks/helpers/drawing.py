"""Images as they are shown: back in [0, 1], with masks or boxes drawn over them; and fonts for what is written."""

from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.transforms import v2
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

CLASS_COLORS = ("red", "lime", "blue", "yellow", "magenta", "cyan", "orange", "purple", "pink", "white")


def denormalize(images: Tensor, transforms: list[nn.Module]) -> Tensor:
    """Bring images, shape (B, C, H, W), back to values in [0, 1], on the CPU.

    Of the transforms that were applied, only Normalize is undone.
    """
    images = images.detach().cpu().float()
    for transform in transforms:
        if isinstance(transform, v2.Normalize):
            mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (transform.mean, transform.std))
            images = images * std + mean
    return (images / 255 if images.max() > 2 else images).clamp(0, 1)


def draw_target(image: Tensor, target: Any) -> Tensor:
    """Draw a mask or boxes over an image of shape (3, H, W) with values in [0, 1].

    A mask of classes has shape (H, W) or (1, H, W), and its class 0 is left clear; boxes and labels come in
    torchvision's dictionary. With any other target the image is returned as it is.
    """
    image = image.float()
    if isinstance(target, dict) and "boxes" in target:
        labels = target.get("names") or [str(int(label)) for label in target.get("labels", [])] or None
        boxes = target["boxes"].detach().cpu()
        font = font_for(frozenset("".join(labels or ())))
        named = {"font": font.fname, "font_size": 12} if font else {}
        drawn = draw_bounding_boxes(image, boxes, labels, colors="red", **named) if len(boxes) else image
    elif isinstance(target, Tensor) and target.shape[-2:] == image.shape[-2:] and not target.is_floating_point():
        mask = target.detach().cpu().reshape(image.shape[-2:])
        classes = [k for k in torch.unique(mask).tolist() if k != 0]
        colors = [CLASS_COLORS[k % len(CLASS_COLORS)] for k in classes]  # a class has the same one in every image
        masks = mask == torch.tensor(classes).view(-1, 1, 1)
        drawn = draw_segmentation_masks(image, masks, alpha=0.5, colors=colors) if classes else image
    else:
        return image
    return torch.as_tensor(drawn)


def use_font_for(names: Iterable[str]) -> None:
    """Let Matplotlib take a font that has all letters of these names where its own has not."""
    from matplotlib import rcParams

    if (font := font_for(frozenset("".join(names)))) and font.name not in rcParams["font.family"]:
        rcParams["font.family"] = [*rcParams["font.family"], font.name]


@cache
def font_for(letters: frozenset[str]) -> Any:
    """Return the first font with those letters that the usual one has not; None for none, which it says once."""
    if all(map(str.isascii, letters)):
        return None
    from matplotlib import font_manager

    manager = font_manager.fontManager
    usual = manager.findfont(font_manager.FontProperties(family=["sans-serif"]))
    if not (lacking := {*map(ord, letters)} - font_manager.get_font(usual).get_charmap().keys()):
        return None
    for path in {*font_manager.findSystemFonts()} - {font.fname for font in manager.ttflist}:  # installed since
        with suppress(Exception):  # no font that it can read
            manager.addfont(path)
    for font in manager.ttflist:
        with suppress(Exception):
            if "Last Resort" not in font.name and lacking <= font_manager.get_font(font.fname).get_charmap().keys():
                return font  # but the one that draws boxes
    shown, package = (
        "".join(map(chr, sorted(lacking)[:10])),
        "fonts-noto-cjk" if min(lacking) >= 0x2E80 else "fonts-noto",
    )
    print(f"figures cannot show {shown}: no installed font has all of it; install one, such as the package {package}")
    return None
