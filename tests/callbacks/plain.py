from typing import Any

from torch import Tensor

from trainworks import BaseModule


class Plain(BaseModule):
    """Learns to give images back."""

    def step(self, batch: Any) -> tuple[Tensor, Tensor, Tensor]:
        images = batch[0].flatten(1) / 255
        outputs = self.net(images)
        return self.loss(outputs, images), outputs, images
