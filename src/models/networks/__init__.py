from src.models.networks.gpt import GPT
from src.models.networks.mlp import MLP
from src.models.networks.small_cnn import SmallCNN
from src.models.networks.small_decoder import SmallDecoder
from src.models.networks.vae import VAE

__all__ = ["GPT", "MLP", "VAE", "SmallCNN", "SmallDecoder"]
