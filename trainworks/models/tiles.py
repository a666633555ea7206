"""Predict on an image of any size tile by tile: masks are blended where tiles overlap, boxes are joined."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import batched_nms, box_iou

from trainworks.errors import UsageError

EDGE = 2  # pixels from the edge of a tile within which a box may be cut off by it
SAME = 0.5  # IoU, in what two tiles both see, above which two boxes are of one object


@torch.inference_mode()
def predict_tiles(module: Any, data: Any, rows: Any, tile: int, overlap: int) -> Iterator[Any]:
    """Yield one BoxResult, or MaskResults of rows from the top to the bottom, in pixels of the image.

    `data` is the datamodule that knows how the module's inputs are made, and `rows` the image (ImageRows). Tiles have
    `tile` pixels at each side, at the scale that images had in the training; neighbours share `overlap` of them.
    """
    if not 0 <= 2 * overlap < tile:
        got = f"got tile {tile} and overlap {overlap}"
        raise UsageError(f"a tile must be larger than two overlaps, {got}; write an overlap below {tile / 2:g}")
    height, width = rows.height, rows.width
    boxes: dict[str, Tensor] = {}
    below = beside = torch.empty(0)
    for top in range(0, max(height - overlap, 1), tile - overlap):
        y = max(min(top, height - tile), 0)  # the last tile begins earlier, and the rest of it is used
        band, strip = rows.read(y, min(y + tile, height)), []
        for left in range(0, max(width - overlap, 1), tile - overlap):
            x = max(min(left, width - tile), 0)
            window = band[:, :, x : x + tile].to(module.device)
            window = nn.functional.pad(window, (0, tile - window.shape[2], 0, tile - window.shape[1]))
            batch = data.batch_for(module, data.transformed(data.join([window])))
            found = module(batch[0] if isinstance(batch, tuple) else batch)
            if isinstance(found, Tensor) and found.shape[2:] == (tile, tile):
                part = found[0, :, top - y : height - y, left - x : width - x].float()
                below = below if len(below) else part.new_zeros(len(part), overlap, width)
                part, beside = _blend(part, top, left, height, beside, below)
                strip += module.results(part[None], module.class_names)
            elif isinstance(found, list) and "boxes" in found[0]:
                inner = torch.tensor([x > 0, y > 0, x + tile < width, y + tile < height])
                boxes = _join(boxes, found[0], torch.tensor([x, y, x + tile, y + tile]), inner, overlap)
            else:
                makes = f"which {type(module).__name__} with its network and transforms does not make"
                raise UsageError(f"tiles are for boxes, and for masks in the size of their images, {makes}")
        if strip:
            yield _full_size(join_masks(strip, dim=1), rows, top)
    if boxes:
        kept = batched_nms(boxes["boxes"], boxes["scores"], boxes["labels"], SAME)
        boxes["boxes"] = boxes["boxes"] * torch.tensor([rows.size[1] / width, rows.size[0] / height] * 2)
        yield from module.results([{key: values[kept] for key, values in boxes.items()}], module.class_names)


def _blend(part: Tensor, top: int, left: int, height: int, beside: Tensor, below: Tensor) -> tuple[Tensor, Tensor]:
    """Return what no later tile sees of a tile, shape (K, H, W), and the columns that the next tile sees too.

    Predictions fall off towards neighbouring tiles. The rows that the tiles below see too are kept in `below`.
    """
    (_, n, width), (_, rows, columns) = below.shape, part.shape
    goes_down, goes_on = top + rows < height, left + columns < width
    for length, dim, has_before, has_after in ((rows, 1, top > 0, goes_down), (columns, 2, left > 0, goes_on)):
        place = (torch.arange(length, device=part.device) + 0.5) / n
        weight = place.clamp(max=1) ** has_before * place.flip(0).clamp(max=1) ** has_after
        part = part * (weight if dim == 2 else weight[:, None])
    first, rows, columns = n * (left > 0), rows - n * goes_down, columns - n * goes_on
    if left:
        part[:, :, :n] += beside
    part[:, : n * (top > 0), first:] += below[:, : n * (top > 0), left + first : left + part.shape[2]]
    if goes_down:
        below[:, :, left : left + columns] = part[:, rows:, :columns]
    return part[:, :rows, :columns], part[:, :, columns:]


def join_masks(parts: list[Any], dim: int) -> Any:
    """Join MaskResults of parts of an image that lie below (`dim` 0) or beside each other (1)."""
    mask = torch.cat([part.mask for part in parts], dim)
    confidence = sum(part.confidence * part.mask.numel() for part in parts) / mask.numel()
    return replace(parts[0], mask=mask, confidence=confidence)


def _full_size(result: Any, rows: Any, top: int) -> Any:
    """Give each pixel of the image in resized rows from `top` on the class of the nearest one."""
    sizes, bottom = zip(rows.size, (rows.height, rows.width), strict=True), top + len(result.mask)
    y, x = (((torch.arange(old) + 0.5) * (new / old)).long() for old, new in sizes)
    return replace(result, mask=result.mask[y[(y >= top) & (y < bottom)] - top][:, x])


def _join(known: dict[str, Tensor], found: dict[str, Tensor], window: Tensor, inner: Tensor, overlap: int) -> Any:
    """Add the boxes of a tile at `window` (x1, y1, x2, y2); `inner` says at which of its edges it has neighbours.

    A box that is cut off is left out where a neighbour sees all of it, else united with the others of its object.
    """
    boxes = found["boxes"].cpu() + window[:2].repeat(2)
    at_edge = ((boxes - window).abs() <= EDGE) & inner
    near_other_edge = (boxes.roll(2, dims=1) - window).abs() < overlap - 2 * EDGE  # so a neighbour sees all of it
    shown = ~(at_edge & near_other_edge).any(dim=1)
    new = {"boxes": boxes, "labels": found["labels"].cpu(), "scores": found["scores"].cpu()}
    new |= {"cut": at_edge.any(dim=1), "seen": window.expand_as(boxes)}
    new = {key: values[shown] for key, values in new.items()}
    if not known:
        return new
    is_known = torch.zeros_like(new["cut"])
    for k in box_iou(known["seen"], window[None]).flatten().nonzero().flatten().tolist():
        old = {key: values[k : k + 1] for key, values in known.items()}
        low, high = old["seen"][0, :2].maximum(window[:2]), old["seen"][0, 2:].minimum(window[2:])
        parts = (item["boxes"].reshape(-1, 2, 2).clamp(low, high).flatten(1) for item in (old, new))
        same = (box_iou(*parts)[0] > SAME) & (old["labels"] == new["labels"]) & (old["cut"] | new["cut"])
        united = {key: torch.cat([values, new[key][same]]) for key, values in old.items()}
        for key in ("boxes", "seen"):
            known[key][k] = torch.cat([united[key][:, :2].amin(dim=0), united[key][:, 2:].amax(dim=0)])
        known["scores"][k], known["cut"][k] = united["scores"].max(), united["cut"].all()
        is_known |= same
    return {key: torch.cat([known[key], values[~is_known]]) for key, values in new.items()}
