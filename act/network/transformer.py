"""The transformer of ACT: post-norm layers, batch first, positions added to queries and keys.

B batch   S, T tokens   K chunk   D hidden
"""

import copy
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Multi-head attention with the parameters of `nn.MultiheadAttention`.

    That class would do, but its batch-first path transposes and copies what this one only views.
    """

    def __init__(self, hidden_dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * hidden_dim, hidden_dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * hidden_dim))
        self.out_proj = nn.Linear(hidden_dim, hidden_dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """(B, S, D), 2 x (B, T, D) -> (B, S, D); mask (B, 1, 1, T) False at keys to skip."""
        weights = self.in_proj_weight.chunk(3)
        biases = self.in_proj_bias.chunk(3)
        q, k, v = (
            self._split_heads(F.linear(x, weight, bias))
            for x, weight, bias in zip((query, key, value), weights, biases, strict=True)
        )
        dropout = self.dropout if self.training else 0.0
        heads = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        return self.out_proj(heads.transpose(1, 2).flatten(2))

    def _split_heads(self, x: Tensor) -> Tensor:
        """(B, S, D) -> (B, heads, S, D / heads)."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward block, each followed by a sum and a norm."""

    def __init__(
        self, hidden_dim: int, num_heads: int, dim_feedforward: int, dropout: float
    ) -> None:
        super().__init__()
        self.self_attn = Attention(hidden_dim, num_heads, dropout)
        self.linear1 = nn.Linear(hidden_dim, dim_feedforward)
        self.linear2 = nn.Linear(dim_feedforward, hidden_dim)
        self.norm1 = nn.LayerNorm(hidden_dim)
        self.norm2 = nn.LayerNorm(hidden_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, pos: Tensor, mask: Tensor | None = None) -> Tensor:
        """x (B, S, D), pos (S, D), mask (B, 1, 1, S) -> (B, S, D)."""
        placed = x + pos
        x = self.norm1(x + self.dropout(self.self_attn(placed, placed, x, mask)))
        hidden = self.dropout(F.relu(self.linear1(x), inplace=True))
        return self.norm2(x + self.dropout(self.linear2(hidden)))


class DecoderLayer(nn.Module):
    """Self-attention, attention to the encoder's output, and a feed-forward block."""

    def __init__(
        self, hidden_dim: int, num_heads: int, dim_feedforward: int, dropout: float
    ) -> None:
        super().__init__()
        self.self_attn = Attention(hidden_dim, num_heads, dropout)
        self.multihead_attn = Attention(hidden_dim, num_heads, dropout)
        self.linear1 = nn.Linear(hidden_dim, dim_feedforward)
        self.linear2 = nn.Linear(dim_feedforward, hidden_dim)
        self.norm1 = nn.LayerNorm(hidden_dim)
        self.norm2 = nn.LayerNorm(hidden_dim)
        self.norm3 = nn.LayerNorm(hidden_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, query_pos: Tensor, memory: Tensor, pos: Tensor) -> Tensor:
        """x (B, K, D), query_pos (K, D), memory (B, S, D), pos (S, D) -> (B, K, D)."""
        placed = x + query_pos
        x = self.norm1(x + self.dropout(self.self_attn(placed, placed, x, None)))
        seen = self.multihead_attn(x + query_pos, memory + pos, memory, None)
        x = self.norm2(x + self.dropout(seen))
        hidden = self.dropout(F.relu(self.linear1(x), inplace=True))
        return self.norm3(x + self.dropout(self.linear2(hidden)))


class Encoder(nn.Module):
    """A stack of encoder layers, without a norm of its own."""

    def __init__(self, layer: EncoderLayer, num_layers: int) -> None:
        super().__init__()
        self.layers = _copies(layer, num_layers)

    def forward(self, x: Tensor, pos: Tensor, mask: Tensor | None = None) -> Tensor:
        """x (B, S, D), pos (S, D), mask (B, 1, 1, S) -> (B, S, D)."""
        for layer in self.layers:
            x = layer(x, pos, mask)
        return x


class Decoder(nn.Module):
    """A stack of decoder layers, of which the first `num_computed` run, and a norm."""

    def __init__(
        self, layer: DecoderLayer, norm: nn.LayerNorm, num_layers: int, num_computed: int
    ) -> None:
        super().__init__()
        self.layers = _copies(layer, num_layers)
        self.norm = norm
        self.num_computed = num_computed

    def forward(self, query_pos: Tensor, memory: Tensor, pos: Tensor) -> Tensor:
        """query_pos (K, D), memory (B, S, D), pos (S, D) -> (B, K, D)."""
        x = memory.new_zeros(memory.shape[0], *query_pos.shape)
        for layer in islice(self.layers, self.num_computed):
            x = layer(x, query_pos, memory, pos)
        return self.norm(x)

    def uncomputed_parameters(self) -> list[Tensor]:
        """The parameters of the layers that never run."""
        idle = islice(self.layers, self.num_computed, None)
        return [parameter for layer in idle for parameter in layer.parameters()]

    def drop_uncomputed(self) -> None:
        """Let go of the layers that never run."""
        self.layers = self.layers[: self.num_computed]


class Transformer(nn.Module):
    """Encoder and decoder, every matrix Xavier-uniform at the start."""

    def __init__(self, encoder: Encoder, decoder: Decoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, tokens: Tensor, pos: Tensor, query_pos: Tensor) -> Tensor:
        """tokens (B, S, D), pos (S, D), query_pos (K, D) -> (B, K, D)."""
        memory = self.encoder(tokens, pos)
        return self.decoder(query_pos, memory, pos)


def _copies(layer: nn.Module, count: int) -> nn.ModuleList:
    # Layers start as equals, as upstream's do: the CVAE encoder's keep the same first weights.
    return nn.ModuleList(copy.deepcopy(layer) for _ in range(count))
