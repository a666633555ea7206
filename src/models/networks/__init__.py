from src import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    changes="Init initialized parametrized",
    fast_cnn="FastCNN",
    gpt="GPT",
    mlp="MLP",
    rescaled="Rescaled",
    small_cnn="SmallCNN",
    small_decoder="SmallDecoder",
    small_pyramid="SmallPyramid",
    unet="UNet",
    vae="VAE",
)
