from src.models.networks.mlp import MLP
from src.models.networks.rescaled import Rescaled
from src.models.networks.small_cnn import SmallCNN
from src.models.networks.small_pyramid import SmallPyramid
from src.models.networks.unet import UNet

__all__ = ["MLP", "Rescaled", "SmallCNN", "SmallPyramid", "UNet"]
