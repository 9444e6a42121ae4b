"""The attention layers of SAM's two-way transformer, rearranged for few tokens and many image tokens.

Notation. T tokens t (T x C), n image tokens x (n x C) with positions p (n x C), H heads of width d. A layer has
projections W_q, W_k, W_v (C x Hd, biases b_q, b_k, b_v) and W_o (Hd x C, bias b_o); a subscript h is one
head's slice. T is about 7, n is 4096: whatever is done on the image side costs n/T = 585 times as much as on
the token side. Every identity below is exact; only the order of the sums changes.

What is precomputed from weights stays a function of them: built with gradients on, the layers train the attention
that they were built from.
"""

import math
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F


def by_head(weight: Tensor, heads: int) -> Tensor:
    """A projection's weight (Hd, C) as (H, d, C)."""
    return weight.reshape(heads, -1, weight.shape[-1]).contiguous()


class TokenProjection(nn.Module):
    """A linear projection of tokens, split by head: (B, T, C) -> (B, H, T, d)."""

    weight: Tensor
    bias: Tensor

    def __init__(self, linear: Any, heads: int, scale: float = 1.0) -> None:
        super().__init__()
        self.heads = heads
        self.register_buffer("weight", linear.weight * scale)
        self.register_buffer("bias", linear.bias * scale)

    def forward(self, tokens: Tensor) -> Tensor:
        """Project and split."""
        projected = F.linear(tokens, self.weight, self.bias)
        batch, count, _ = projected.shape
        return projected.reshape(batch, count, self.heads, -1).transpose(1, 2)


def join_heads(heads: Tensor) -> Tensor:
    """(B, H, T, d) -> (B, T, Hd)."""
    return heads.transpose(1, 2).flatten(2)


def softmax_over_tokens(logits: Tensor) -> Tensor:
    """Softmax along T of (B, H, T, n).

    Written out, because ONNX Runtime's Softmax transposes for any but the last axis: four times slower.
    """
    exponentials = (logits - logits.amax(2, keepdim=True)).exp()
    return exponentials / exponentials.sum(2, keepdim=True)


class SelfAttention(nn.Module):
    """Tokens attend to tokens: nothing to gain, only the scale is folded into the queries."""

    def __init__(self, attention: Any) -> None:
        super().__init__()
        heads = attention.num_heads
        scale = 1 / math.sqrt(attention.internal_dim // heads)
        self.queries = TokenProjection(attention.q_proj, heads, scale)
        self.keys = TokenProjection(attention.k_proj, heads)
        self.values = TokenProjection(attention.v_proj, heads)
        self.out = attention.out_proj

    def forward(self, positioned: Tensor, tokens: Tensor) -> Tensor:
        """Queries and keys from `positioned`, values from `tokens`, all (B, T, C)."""
        weights = (self.queries(positioned) @ self.keys(positioned).transpose(2, 3)).softmax(-1)
        update: Tensor = self.out(join_heads(weights @ self.values(tokens)))
        return update


class TokenToImage(nn.Module):
    """Tokens attend to the image.

    *Keys.* The logits q_h (x W_k + p W_k + b_k)_h^T are (q_h W_k,h^T) x^T + q_h (p W_k)_h^T + const: the key
    projection moves to the token side, where it costs T rows and not n; the positions' keys are a constant of
    the model; q_h b_k,h^T shifts a whole row and softmax does not see it.

    *Values.* With weights A_h whose rows sum to one, A_h (x W_v + b_v)_h = (A_h x) W_v,h + b_v,h: attend to the
    raw image tokens, then project T results.
    """

    key_weight: Tensor
    value_weight: Tensor
    value_bias: Tensor
    position_keys: Tensor

    def __init__(self, attention: Any, position: Tensor) -> None:
        super().__init__()
        heads = attention.num_heads
        scale = 1 / math.sqrt(attention.internal_dim // heads)
        self.queries = TokenProjection(attention.q_proj, heads, scale)
        self.out = attention.out_proj
        self.register_buffer("key_weight", by_head(attention.k_proj.weight, heads))
        self.register_buffer("value_weight", by_head(attention.v_proj.weight, heads).transpose(1, 2).contiguous())
        self.register_buffer("value_bias", attention.v_proj.bias.reshape(heads, 1, -1))
        self.register_buffer("position_keys", self.key_weight @ position.T)

    def forward(self, tokens: Tensor, image_tokens: Tensor) -> Tensor:
        """Update (B, T, C) of positioned tokens (B, T, C) from image tokens (B, n, C)."""
        queries = self.queries(tokens)
        absorbed = (queries @ self.key_weight).flatten(1, 2)
        logits = absorbed @ image_tokens.transpose(1, 2) + (queries @ self.position_keys).flatten(1, 2)
        attended = (logits.softmax(-1) @ image_tokens).reshape(*queries.shape[:3], -1)
        return self._join(attended @ self.value_weight + self.value_bias)

    def prepare(self, image_tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Keys (B, H, d, n) and values (B, H, n, d) of image tokens that several prompts share."""
        images = image_tokens[:, None]
        return self.key_weight @ images.transpose(2, 3) + self.position_keys, images @ self.value_weight

    def prepared(self, tokens: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """The same update from `prepare`'s answer: n d products per token and head where there were n C."""
        weights = (self.queries(tokens) @ keys).softmax(-1)
        return self._join(weights @ values + self.value_bias)

    def _join(self, attended: Tensor) -> Tensor:
        update: Tensor = self.out(join_heads(attended))
        return update


class ImageToToken(nn.Module):
    """The image attends to tokens.

    *Queries.* With token keys k_h, the logits (x W_q + p W_q + b_q)_h k_h^T are, transposed,
    (k_h W_q,h^T) x^T + k_h (p W_q + b_q)_h^T: the query projection moves into the token keys.

    *Output.* The update is the sum over heads of A_h v_h W_o,h + b_o, so that U_h = v_h W_o,h + b_o / H, T rows per
    head, replaces the values and the output projection: the T weights of a head sum to one, hence those of all
    heads to H, and the bias comes back whole. The update is one product of the stacked weights (n x HT) and
    the stacked U (HT x C).
    """

    query_weight: Tensor
    out_weight: Tensor
    out_bias: Tensor
    position_queries: Tensor

    def __init__(self, attention: Any, position: Tensor) -> None:
        super().__init__()
        heads = attention.num_heads
        scale = 1 / math.sqrt(attention.internal_dim // heads)
        self.keys = TokenProjection(attention.k_proj, heads, scale)
        self.values = TokenProjection(attention.v_proj, heads)
        self.register_buffer("query_weight", by_head(attention.q_proj.weight, heads))
        query_bias = attention.q_proj.bias.reshape(heads, -1, 1)
        self.register_buffer("position_queries", self.query_weight @ position.T + query_bias)
        self.register_buffer("out_weight", by_head(attention.out_proj.weight.T, heads))
        self.register_buffer("out_bias", attention.out_proj.bias / heads)

    def forward(self, positioned: Tensor, tokens: Tensor, image_tokens: Tensor) -> Tensor:
        """Update (B, n, C) of image tokens (B, n, C); keys from `positioned`, values from `tokens` (B, T, C)."""
        keys = self.keys(positioned)
        absorbed = (keys @ self.query_weight).flatten(1, 2)
        logits = (absorbed @ image_tokens.transpose(1, 2)).reshape(*keys.shape[:3], -1)
        return self._update(logits + keys @ self.position_queries, tokens)

    def prepare(self, image_tokens: Tensor) -> Tensor:
        """Queries (B, H, d, n) of image tokens that several prompts share."""
        queries: Tensor = self.query_weight @ image_tokens[:, None].transpose(2, 3) + self.position_queries
        return queries

    def prepared(self, positioned: Tensor, tokens: Tensor, queries: Tensor) -> Tensor:
        """The same update from `prepare`'s answer."""
        return self._update(self.keys(positioned) @ queries, tokens)

    def _update(self, logits: Tensor, tokens: Tensor) -> Tensor:
        weights = softmax_over_tokens(logits).flatten(1, 2)
        rows: Tensor = (self.values(tokens) @ self.out_weight + self.out_bias).flatten(1, 2)
        return weights.transpose(1, 2) @ rows
