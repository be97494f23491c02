"""Fused passes for the transformer blocks of FLUX.1: two streams first, then one, each block with modulations
of its own."""

from __future__ import annotations

from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernels.modulate import gate_norm_modulate
from kernels.norm_modulate import norm_modulate
from kernels.rotary import norm_rotary
from models.pretrained import folds
from models.pretrained.fit import demand
from models.pretrained.fused_transformers import (
    attend,
    clipped,
    demand_plain,
    gated_sum,
    heads_of,
    heads_of_stream,
)


def prepare_flux(block: nn.Module) -> SimpleNamespace:
    demand_processor(block)
    image = heads_of(block.attn, ("to_q", "to_k", "to_v"), ("norm_q", "norm_k"))
    added = ("norm_added_q", "norm_added_k")
    text = heads_of(block.attn, ("add_q_proj", "add_k_proj", "add_v_proj"), added)
    return SimpleNamespace(image=image, text=text, mods=None, clock=None)


def demand_processor(block: nn.Module) -> None:
    name = type(block.attn.processor).__name__
    demand(name == "FluxAttnProcessor", f"its attention is {name}")


def modulations_flux(block: nn.Module, temb: Tensor) -> tuple[Tensor, Tensor]:
    """What the two norms make of the embedding of time and prompt: (B, 6 D) each."""
    active = F.silu(temb)
    return block.norm1.linear(active), block.norm1_context.linear(active)


def run_flux(
    block: nn.Module,
    hidden_states: Tensor,
    encoder_hidden_states: Tensor,
    temb: Tensor | None,
    image_rotary_emb: tuple[Tensor, Tensor] | None = None,
    joint_attention_kwargs: dict | None = None,
) -> tuple[Tensor, Tensor]:
    if joint_attention_kwargs or image_rotary_emb is None:
        given = (temb, image_rotary_emb, joint_attention_kwargs)
        return type(block).forward(block, hidden_states, encoder_hidden_states, *given)
    fused, x, text = block.fused, hidden_states, encoder_hidden_states
    mods = modulations_flux(block, temb) if fused.mods is None else fused.mods[fused.clock.step]
    shift, scale, gate, *after = mods[0].chunk(6, dim=1)
    text_shift, text_scale, text_gate, *text_after = mods[1].chunk(6, dim=1)
    cos, sin = (table[:, ::2] for table in image_rotary_emb)  # each value stands there twice
    split = text.shape[1]
    image_heads = heads_of_stream(norm_modulate(x, scale, shift), fused.image, cos[split:], sin[split:])
    normed = norm_modulate(text, text_scale, text_shift)
    text_heads = heads_of_stream(normed, fused.text, cos[:split], sin[:split])
    attended = attend(*(torch.cat(pair, 1) for pair in zip(text_heads, image_heads, strict=True)))
    x = feed(x, block.attn.to_out[0](attended[:, split:]), gate, after, block.ff)
    text = feed(text, block.attn.to_add_out(attended[:, :split]), text_gate, text_after, block.ff_context)
    return clipped(text), x


def feed(x: Tensor, out: Tensor, gate: Tensor, after: list[Tensor], ff: nn.Module) -> Tensor:
    """The second half of a stream: the attention's sum, and the feed-forward's."""
    shift, scale, last_gate = after
    x, normed = gate_norm_modulate(x, out, gate, scale, shift)
    return gated_sum(x, last_gate, ff(normed))


def prepare_flux_single(block: nn.Module) -> SimpleNamespace:
    demand_processor(block)
    attention = block.attn
    demand_plain([block.proj_mlp, block.proj_out])
    heads = heads_of(attention, ("to_q", "to_k", "to_v"), ("norm_q", "norm_k"))
    # one product makes queries, keys, values and the feed-forward's middle: they read the same input
    weight, bias = folds.pack([attention.to_q, attention.to_k, attention.to_v, block.proj_mlp])
    heads.weight, heads.bias = weight, bias
    return SimpleNamespace(heads=heads, mods=None, clock=None)


def modulations_flux_single(block: nn.Module, temb: Tensor) -> tuple[Tensor]:
    """(B, 3 D): shift, scale, gate."""
    return (block.norm.linear(F.silu(temb)),)


def run_flux_single(
    block: nn.Module,
    hidden_states: Tensor,
    encoder_hidden_states: Tensor,
    temb: Tensor | None,
    image_rotary_emb: tuple[Tensor, Tensor] | None = None,
    joint_attention_kwargs: dict | None = None,
) -> tuple[Tensor, Tensor]:
    if joint_attention_kwargs or image_rotary_emb is None:
        given = (temb, image_rotary_emb, joint_attention_kwargs)
        return type(block).forward(block, hidden_states, encoder_hidden_states, *given)
    fused, heads = block.fused, block.fused.heads
    x = torch.cat((encoder_hidden_states, hidden_states), 1)
    (mods,) = modulations_flux_single(block, temb) if fused.mods is None else fused.mods[fused.clock.step]
    shift, scale, gate = mods.chunk(3, dim=1)
    product = F.linear(norm_modulate(x, scale, shift), heads.weight, heads.bias)
    inner = x.shape[2]
    qkv = product[..., : 3 * inner].unflatten(-1, (3, heads.heads, -1))
    cos, sin = (table[:, ::2] for table in image_rotary_emb)
    query, key = norm_rotary(qkv, heads.gains, cos, sin, eps=heads.eps)
    middle = F.gelu(product[..., 3 * inner :], approximate="tanh")
    # the two halves of one product, so that their inputs need not be laid side by side first
    weight = block.proj_out.weight
    out = F.linear(attend(query, key, qkv[:, :, 2]), weight[:, :inner], block.proj_out.bias)
    out.flatten(0, 1).addmm_(middle.flatten(0, 1), weight[:, inner:].t())
    x = clipped(gated_sum(x, gate, out))
    split = encoder_hidden_states.shape[1]
    return x[:, :split], x[:, split:]
