import math

from torch import Tensor, nn
from torch.nn import functional as F

from trainworks import UsageError


class GPT(nn.Module):
    """A small transformer that predicts the next token, in the manner of GPT-2.

    Source: https://cdn.openai.com/better-language-models/language_models.pdf. It has pre-norm blocks, an output layer
    tied to the embedding (arXiv:1608.05859), and smaller initial weights in the residual branches.

    Args:
        vocab_size: Number of different tokens; 256 for bytes.
        max_length: Longest sequence.
        width: Length of the vector of a token; a multiple of `num_heads`.
        num_layers: Blocks of attention and MLP.
        num_heads: Heads of each attention.
        dropout: Dropout of embeddings, attention and residual branches, in [0, 1).

    Raises:
        ValueError: If a number is out of range.
        UsageError: If a sequence is too long.
    """

    def __init__(
        self, vocab_size: int, max_length: int, width: int, num_layers: int, num_heads: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if min(vocab_size, max_length, width, num_layers, num_heads) < 1 or not 0 <= dropout < 1:
            raise ValueError(
                "GPT: every number must be at least 1 and dropout in [0, 1), got "
                f"{vocab_size}, {max_length}, {width}, {num_layers}, {num_heads} and {dropout}"
            )
        if width % num_heads:
            near = f"{width - width % num_heads or num_heads} or {width + num_heads - width % num_heads}"
            raise ValueError(f"GPT: width must be a multiple of num_heads, {num_heads}, got {width}; use {near}")
        self.max_length = max_length
        self.tokens = nn.Embedding(vocab_size, width)
        self.positions = nn.Embedding(max_length, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(_Block(width, num_heads, dropout) for _ in range(num_layers))
        self.norm = nn.LayerNorm(width)
        for name, parameter in self.named_parameters():
            if name.endswith("out.weight"):  # the sum of all residual branches then has the scale of one
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * num_layers))
            elif parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens, shape (B, T), to logits of the token after each of them, shape (B, T, vocab_size)."""
        length = tokens.shape[1]
        if length > self.max_length:
            raise UsageError(f"GPT: a sequence has {length} tokens, but max_length is {self.max_length}; raise it")
        x = self.dropout(self.tokens(tokens) + self.positions.weight[:length])
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x), self.tokens.weight)


class _Block(nn.Module):
    """Causal self-attention, then an MLP, each with a residual connection."""

    def __init__(self, width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.norm_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp_in = nn.Linear(width, 4 * width)
        self.mlp_out = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, width) to the same shape."""
        x = x + self._drop(self._attend(self.norm_attention(x)))
        return x + self._drop(self.mlp_out(F.gelu(self.mlp_in(self.norm_mlp(x)), approximate="tanh")))

    def _attend(self, x: Tensor) -> Tensor:
        query, key, value = (
            part.transpose(1, 2) for part in self.qkv(x).unflatten(2, (3, self.num_heads, -1)).unbind(2)
        )
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True)
        return self.attention_out(mixed.transpose(1, 2).flatten(2))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)
