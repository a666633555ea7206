"""What only the command predict writes beside its table: boxes in COCO's format, masks and drawn images."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from trainworks.callbacks.helpers.result_table import ResultTable


def write_coco(table: ResultTable, class_names: list[str]) -> None:
    """Write the boxes of all rows as results in COCO's format: corner, width and height."""

    def boxes() -> Iterator[dict[str, Any]]:
        for index, row in table.rows():
            found = zip(*(row.get(name, ()) for name in ("boxes", "labels", "scores")), strict=True)
            for (x1, y1, x2, y2), label, score in found:
                category = class_names.index(label) if label in class_names else int(label)
                box = {"image_id": index, "category_id": category, "bbox": [x1, y1, x2 - x1, y2 - y1]}
                yield box | {"score": score}

    images = ({"id": index, "file_name": str(row["input"])} for index, row in table.rows())
    categories = ({"id": number, "name": name} for number, name in enumerate(class_names))
    lists = {"images": images, "annotations": boxes(), "categories": categories}
    with table.path.with_suffix(".coco.json").open("w", encoding="utf-8") as file:  # all of it may be too much
        for name, items in lists.items():
            file.write(f'{"{" if items is images else ", "}"{name}": [')
            file.writelines(f"{', ' if number else ''}{json.dumps(item)}" for number, item in enumerate(items))
            file.write("]")
        file.write("}")


def save_pictures(
    table: Path, name: str, result: Any, image: Tensor | None, transforms: list[nn.Module]
) -> dict[str, str]:
    """Save the mask of a result, and draw mask or boxes over the image if there is one; return the mask's column."""
    columns, target = {}, None
    if hasattr(result, "mask"):
        target, columns["mask"] = result.mask, str(_folder(table, "masks") / name)
        result.image().save(columns["mask"])
    if image is not None:
        from torchvision.transforms.v2.functional import to_pil_image

        from trainworks.callbacks.helpers.drawing import denormalize, draw_target

        if hasattr(result, "boxes"):
            target = {"boxes": result.boxes, "names": result.labels}
        plain = denormalize(image[None], transforms)[0].expand(3, -1, -1)
        to_pil_image(draw_target(plain, target)).save(_folder(table, "drawn") / name)
    return columns


def _folder(table: Path, kind: str) -> Path:
    """Return the folder of a table's pictures."""
    folder = table.with_name(f"{table.stem}_{kind}")
    folder.mkdir(exist_ok=True)
    return folder
