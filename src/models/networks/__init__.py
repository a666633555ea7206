from src.models.networks.gpt import GPT
from src.models.networks.mlp import MLP
from src.models.networks.rescaled import Rescaled
from src.models.networks.small_cnn import SmallCNN
from src.models.networks.small_decoder import SmallDecoder
from src.models.networks.small_pyramid import SmallPyramid
from src.models.networks.unet import UNet
from src.models.networks.vae import VAE

__all__ = ["GPT", "MLP", "VAE", "Rescaled", "SmallCNN", "SmallDecoder", "SmallPyramid", "UNet"]
