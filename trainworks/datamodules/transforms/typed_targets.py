from typing import Any

from torchvision import tv_tensors


def typed_targets(images: Any, targets: Any) -> tuple[Any, Any]:
    """Give images, boxes and masks of a detector's batch, two lists, the types that they lost on their way."""
    images = [tv_tensors.Image(image) for image in images]
    typed = []
    for image, target in zip(images, targets, strict=True):
        kinds: dict[str, Any] = dict(target)
        if "boxes" in kinds and not isinstance(kinds["boxes"], tv_tensors.TVTensor):
            size: Any = tuple(image.shape[-2:])
            kinds["boxes"] = tv_tensors.BoundingBoxes(kinds["boxes"], format="XYXY", canvas_size=size)
        if "masks" in kinds and not isinstance(kinds["masks"], tv_tensors.TVTensor):
            kinds["masks"] = tv_tensors.Mask(kinds["masks"])
        typed.append(kinds)
    return images, typed
