from src.models.networks.mlp import MLP
from src.models.networks.rescaled import Rescaled
from src.models.networks.small_cnn import SmallCNN

__all__ = ["MLP", "Rescaled", "SmallCNN"]
