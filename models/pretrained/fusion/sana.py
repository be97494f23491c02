"""Fused passes for the transformer blocks of SANA: linear attention, cross-attention, convolutions."""

from __future__ import annotations

from types import SimpleNamespace

import torch.nn.functional as F
from torch import Tensor, nn

from kernels.ops.glu import glu
from kernels.ops.modulate import gate_norm_modulate
from kernels.ops.norm_modulate import norm_modulate
from models.pretrained.fusion import precompute
from models.pretrained.fusion.checks import demand, gain_of, modulations_of, rms, served
from models.pretrained.fusion.precompute import Block
from models.pretrained.fusion.transformers import clipped, demand_plain, gated_sum

EPS = 1e-15  # added to the sum of weights of linear attention, as in `diffusers`


def prepare_sana(block: Block) -> SimpleNamespace:
    own, words, ff = block.attn1, block.attn2, block.ff
    name = type(own.processor).__name__
    demand(name == "SanaLinearAttnProcessor2_0", f"its attention is {name}")
    demand(words is not None, "it has no cross-attention")
    name = type(words.processor).__name__
    plain = name == "SanaAttnProcessor2_0" and words.rescale_output_factor == 1
    demand(plain, f"its cross-attention is {name}, or scaled")
    demand(block.norm2.weight is None, "its second norm has weights")
    layers = [own.to_q, own.to_k, own.to_v]
    demand_plain([*layers, own.to_out[0], words.to_q, words.to_k, words.to_v, words.to_out[0]])
    convolutions = [ff.conv_inverted, ff.conv_depth, ff.conv_point]
    demand(
        all(type(layer) is nn.Conv2d for layer in convolutions), "its convolutions carry adapters: merge them"
    )
    demand(ff.norm is None and not ff.residual_connection, "its feed-forward has a norm or a skip")
    weight, bias = precompute.pack(layers)
    gains = [None if norm is None else gain_of(norm) for norm in (own.norm_q, own.norm_k, words.norm_q)]
    return SimpleNamespace(
        weight=weight, bias=bias, gains=gains, one=weight.new_ones(1, weight.shape[1]), prompt=None
    )


def modulations_sana(block: Block, embedding: tuple[Tensor, ...]) -> tuple[Tensor]:
    """Modulations (B, 6, D): the block's table plus the first embedding, that of time."""
    made = embedding[0]
    return (block.scale_shift_table + made.unflatten(1, (6, -1)),)


def run_sana(
    block: Block,
    hidden_states: Tensor,
    attention_mask: Tensor | None = None,
    encoder_hidden_states: Tensor | None = None,
    encoder_attention_mask: Tensor | None = None,
    timestep: Tensor | None = None,
    height: int | None = None,
    width: int | None = None,
) -> Tensor:
    assert height is not None and width is not None
    fused, x, batch = block.fused, hidden_states, len(hidden_states)
    (mods,) = modulations_of(block, modulations_sana, (timestep,))
    shift, scale, gate, shift_ff, scale_ff, gate_ff = mods.unbind(1)
    h = norm_modulate(x, scale, shift, eps=block.norm1.eps)
    qkv = F.linear(h, fused.weight, fused.bias)
    x = gated_sum(x, gate, linear_attention(block.attn1, qkv, *fused.gains[:2]))
    if served(block) and fused.prompt is not None:
        ((key, value),) = fused.prompt
    else:
        assert encoder_hidden_states is not None
        key, value = precompute.prompt_keys_values(block.attn2, encoder_hidden_states)
    out = cross_attention(block.attn2, x, fused.gains[2], key, value, encoder_attention_mask)
    one = fused.one.expand(batch, -1)
    x, h = gate_norm_modulate(x, out, one, scale_ff, shift_ff, eps=block.norm2.eps)
    return gated_sum(x, gate_ff, feed(block.ff, h, height, width))


def linear_attention(
    attention: Block, qkv: Tensor, query_gain: Tensor | None, key_gain: Tensor | None
) -> Tensor:
    """Linear attention (Katharopoulos et al. 2020): (B, T, 3 C) -> (B, T, C).

    The weights are products of positive features, so the sums over the keys are computed first.
    """
    query, key, value = qkv.chunk(3, dim=-1)
    query, key = normed(query, query_gain, attention.norm_q), normed(key, key_gain, attention.norm_k)
    query, key, value = (
        part.unflatten(-1, (attention.heads, -1)).transpose(1, 2) for part in (query, key, value)
    )
    out = weighted(query, key, value, EPS)
    return clipped(attention.to_out[0](out.transpose(1, 2).flatten(2).to(qkv.dtype)))


def normed(x: Tensor, gain: Tensor | None, norm: Block) -> Tensor:
    return x if gain is None else rms(x, gain, norm.eps)


def weighted(query: Tensor, key: Tensor, value: Tensor, eps: float) -> Tensor:
    """Normalized linear attention with ReLU features: (B, heads, T, D) each -> the same shape, float32."""
    query, key, value = F.relu(query.float()), F.relu(key.float()), value.float()
    state = key.transpose(2, 3) @ F.pad(value, (0, 1), value=1.0)  # the last column sums the weights
    out = query @ state
    return out[..., :-1] / (out[..., -1:] + eps)


def cross_attention(
    attention: Block, x: Tensor, gain: Tensor | None, key: Tensor, value: Tensor, bias: Tensor | None
) -> Tensor:
    """Cross-attention: (B, T, C) -> (B, T, C).

    key, value: (B, heads, words, D); bias: (B, 1, words) or None.
    """
    query = normed(attention.to_q(x), gain, attention.norm_q)
    query = query.unflatten(-1, (attention.heads, -1)).transpose(1, 2)
    bias = None if bias is None else bias[:, None]
    out = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    return attention.to_out[0](out.transpose(1, 2).flatten(2))


def feed(ff: Block, x: Tensor, height: int, width: int) -> Tensor:
    """Feed-forward on (B, T, C): pointwise convolutions run as products, which avoids layout changes."""
    inverted = ff.conv_inverted
    h = F.silu(F.linear(x, inverted.weight.flatten(1), inverted.bias))
    h = ff.conv_depth(h.unflatten(1, (height, width)).permute(0, 3, 1, 2))
    h = glu(h.permute(0, 2, 3, 1).flatten(1, 2), "silu")
    return F.linear(h, ff.conv_point.weight.flatten(1))
