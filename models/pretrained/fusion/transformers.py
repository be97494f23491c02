"""Fused passes for the transformer blocks of SD 3.5 and Z-Image, and helpers shared with FLUX.

The order in each block: norm and modulation, one packed product, norm and rotary embedding of the heads,
attention, then residual, gate, norm and modulation as one op before the feed-forward.
"""

from __future__ import annotations

from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernels.ops.linear_glu import linear_glu
from kernels.ops.modulate import gate_norm_modulate
from kernels.ops.norm_modulate import norm_modulate
from kernels.ops.rotary import norm_rotary
from models.pretrained.fusion import precompute
from models.pretrained.fusion.checks import demand, modulations_of, rms
from models.pretrained.fusion.precompute import Block

HALF_MAX = 65504  # largest float16; `diffusers` clips to it


def demand_plain(layers: list[Block]) -> None:
    demand(all(type(layer) is nn.Linear for layer in layers), "its products carry adapters: merge them")


def heads_of(attention: Block, names: tuple[str, ...], norms: tuple[str, ...]) -> SimpleNamespace:
    """Parameters of one attention stream: packed product, and gains and eps of the query and key norms."""
    layers = [getattr(attention, name) for name in names]
    demand_plain(layers)
    norm_q, norm_k = (getattr(attention, name) for name in norms)
    gains, eps = None, 0.0
    if norm_q is not None:
        gains, eps = torch.stack((norm_q.weight, norm_k.weight)), norm_q.eps
    weight, bias = precompute.pack(layers)
    return SimpleNamespace(weight=weight, bias=bias, gains=gains, eps=eps, heads=attention.heads)


def heads_of_stream(x: Tensor, stream: SimpleNamespace, cos=None, sin=None) -> tuple[Tensor, Tensor, Tensor]:
    """Project (B, T, C) to query, key and value, (B, T, heads, D) each; norm and rotary if it has gains."""
    qkv = F.linear(x, stream.weight, stream.bias).unflatten(-1, (3, stream.heads, -1))
    if stream.gains is None:
        query, key, value = qkv.unbind(2)
        return query, key, value
    query, key = norm_rotary(qkv, stream.gains, cos, sin, eps=stream.eps)
    return query, key, qkv[:, :, 2]


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax attention: (B, T, heads, D) each -> (B, T, heads D)."""
    parts = (part.transpose(1, 2) for part in (query, key, value))
    return F.scaled_dot_product_attention(*parts, attn_mask=mask).transpose(1, 2).flatten(2)


def gated_sum(x: Tensor, gate: Tensor, y: Tensor) -> Tensor:
    return torch.addcmul(x, gate[:, None], y)


def clipped(x: Tensor) -> Tensor:
    return x.clamp_(-HALF_MAX, HALF_MAX) if x.dtype == torch.float16 else x


# SD 3 and 3.5: two streams, modulated by time and prompt


def prepare_sd3(block: Block) -> SimpleNamespace:
    name = type(block.attn.processor).__name__
    demand(name == "JointAttnProcessor2_0", f"its attention is {name}")
    demand(block._chunk_size is None, "its feed-forward is chunked")
    streams = SimpleNamespace(second=None)
    norms = ("norm_q", "norm_k")
    streams.image = heads_of(block.attn, ("to_q", "to_k", "to_v"), norms)
    added = ("norm_added_q", "norm_added_k")
    streams.text = heads_of(block.attn, ("add_q_proj", "add_k_proj", "add_v_proj"), added)
    if block.attn2 is not None:
        streams.second = heads_of(block.attn2, ("to_q", "to_k", "to_v"), norms)
    return streams


def modulations_sd3(block: Block, temb: Tensor) -> tuple[Tensor, Tensor]:
    """Modulations of the two norms from time and prompt: (B, 6 D or 9 D), (B, 6 D or 2 D)."""
    active = F.silu(temb)
    return block.norm1.linear(active), block.norm1_context.linear(active)


def run_sd3(
    block: Block,
    hidden_states: Tensor,
    encoder_hidden_states: Tensor,
    temb: Tensor | None,
    joint_attention_kwargs: dict | None = None,
) -> tuple[Tensor | None, Tensor]:
    if joint_attention_kwargs:
        return type(block).forward(block, hidden_states, encoder_hidden_states, temb, joint_attention_kwargs)
    fused, x, text = block.fused, hidden_states, encoder_hidden_states
    mods = modulations_of(block, modulations_sd3, temb)
    shift, scale, gate, shift_ff, scale_ff, gate_ff, *dual = mods[0].chunk(9 if fused.second else 6, dim=1)
    text_after: list[Tensor] = []  # of the text's second half, absent in the last block
    if block.context_pre_only:
        text_scale, text_shift = mods[1].chunk(2, dim=1)
    else:
        text_shift, text_scale, *text_after = mods[1].chunk(6, dim=1)
    image_heads = heads_of_stream(norm_modulate(x, scale, shift), fused.image)
    text_heads = heads_of_stream(norm_modulate(text, text_scale, text_shift), fused.text)
    attended = attend(*(torch.cat(pair, 1) for pair in zip(image_heads, text_heads, strict=True)))
    out = block.attn.to_out[0](attended[:, : x.shape[1]])
    if fused.second:
        alone = attend(*heads_of_stream(norm_modulate(x, dual[1], dual[0]), fused.second))
        x, out, gate = gated_sum(x, gate, out), block.attn2.to_out[0](alone), dual[2]
    x, normed = gate_norm_modulate(x, out, gate, scale_ff, shift_ff)
    x = gated_sum(x, gate_ff, block.ff(normed))
    if block.context_pre_only:
        return None, x
    out = block.attn.to_add_out(attended[:, x.shape[1] :])
    text_gate, text_shift_ff, text_scale_ff, text_gate_ff = text_after
    text, normed = gate_norm_modulate(text, out, text_gate, text_scale_ff, text_shift_ff)
    return gated_sum(text, text_gate_ff, block.ff_context(normed)), x


# Z-Image: one stream, norms before and after attention and feed-forward


def prepare_zimage(block: Block) -> SimpleNamespace:
    attention, ff = block.attention, block.feed_forward
    name = type(attention.processor).__name__
    demand(name == "ZSingleStreamAttnProcessor" and attention.norm_q is not None, f"its attention is {name}")
    demand_plain([ff.w1, ff.w2, ff.w3])
    stream = heads_of(attention, ("to_q", "to_k", "to_v"), ("norm_q", "norm_k"))
    one = torch.ones_like(block.ffn_norm1.weight)[None]
    return SimpleNamespace(stream=stream, gated=precompute.pack([ff.w1, ff.w3])[0], one=one)


def modulations_zimage(block: Block, embedding: Tensor | None) -> tuple[Tensor, ...]:
    """Gains of the four norms minus one, with scales and gates folded in: (1, D) float32 each."""
    norms = block.attention_norm1, block.attention_norm2, block.ffn_norm1, block.ffn_norm2
    gains = [norm.weight.float() for norm in norms]
    if block.modulation:
        scale, gate, scale_ff, gate_ff = block.adaLN_modulation(embedding)[0].float().chunk(4)
        factors = 1 + scale, gate.tanh(), 1 + scale_ff, gate_ff.tanh()
        gains = [gain * factor for gain, factor in zip(gains, factors, strict=True)]
    return tuple(gain[None] - 1 for gain in gains)


def run_zimage(
    block: Block,
    x: Tensor,
    attn_mask: Tensor | None,
    freqs_cis: Tensor | None,
    adaln_input: Tensor | None = None,
    noise_mask: Tensor | None = None,
    adaln_noisy: Tensor | None = None,
    adaln_clean: Tensor | None = None,
) -> Tensor:
    if x.shape[0] != 1 or noise_mask is not None or freqs_cis is None:
        given = (attn_mask, freqs_cis, adaln_input, noise_mask, adaln_noisy, adaln_clean)
        return type(block).forward(block, x, *given)
    fused, ff = block.fused, block.feed_forward
    first, second, third, fourth = modulations_of(block, modulations_zimage, adaln_input)
    turns = torch.view_as_real(freqs_cis)[0]
    normed = rms(x, first, block.attention_norm1.eps)
    heads = heads_of_stream(normed, fused.stream, turns[..., 0], turns[..., 1])
    mask = attn_mask[:, None, None] if attn_mask is not None and attn_mask.dim() == 2 else attn_mask
    out = block.attention.to_out[0](attend(*heads, mask))
    out = rms(out, second, block.attention_norm2.eps)
    x, normed = gate_norm_modulate(x, out, fused.one, third, norm="rms", eps=block.ffn_norm1.eps)
    y = ff.w2(linear_glu(normed, fused.gated, None, "silu", gate_first=True))
    return x.add_(rms(y, fourth, block.ffn_norm2.eps))
