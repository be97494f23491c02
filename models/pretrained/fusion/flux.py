"""Fused passes for the transformer blocks of FLUX: two-stream blocks, then single-stream blocks.

In FLUX.1 each block computes its own modulations; in FLUX.2 all blocks of a kind share them.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernels.ops.glu import glu
from kernels.ops.linear_glu import linear_glu
from kernels.ops.modulate import gate_norm_modulate
from kernels.ops.norm_modulate import norm_modulate
from kernels.ops.rotary import norm_rotary
from models.pretrained.fusion import precompute
from models.pretrained.fusion.checks import demand, modulations_of
from models.pretrained.fusion.precompute import Block
from models.pretrained.fusion.transformers import (
    attend,
    clipped,
    demand_plain,
    gated_sum,
    heads_of,
    heads_of_stream,
)

EPS = 1e-6  # of every norm

Rotary = tuple[Tensor, Tensor]


def demand_processor(attention: Block, wanted: str) -> None:
    name = type(attention.processor).__name__
    demand(name == wanted, f"its attention is {name}")


def prepare_streams(block: Block, processor: str) -> SimpleNamespace:
    demand_processor(block.attn, processor)
    image = heads_of(block.attn, ("to_q", "to_k", "to_v"), ("norm_q", "norm_k"))
    added = ("norm_added_q", "norm_added_k")
    text = heads_of(block.attn, ("add_q_proj", "add_k_proj", "add_v_proj"), added)
    return SimpleNamespace(image=image, text=text)


def run_streams(
    block: Block, x: Tensor, text: Tensor, mods: tuple[Tensor, Tensor], rotary: Rotary, feed: Callable
) -> tuple[Tensor, Tensor]:
    """Run a two-stream block and return text and picture. mods: (B, 6 D) for picture and for text."""
    shift, scale, gate, *after = mods[0].chunk(6, dim=1)
    text_shift, text_scale, text_gate, *text_after = mods[1].chunk(6, dim=1)
    cos, sin = (table[:, ::2] for table in rotary)  # the table repeats each value
    split = text.shape[1]
    normed = norm_modulate(x, scale, shift, eps=EPS)
    image_heads = heads_of_stream(normed, block.fused.image, cos[split:], sin[split:])
    normed = norm_modulate(text, text_scale, text_shift, eps=EPS)
    text_heads = heads_of_stream(normed, block.fused.text, cos[:split], sin[:split])
    attended = attend(*(torch.cat(pair, 1) for pair in zip(text_heads, image_heads, strict=True)))

    def second_half(x: Tensor, out: Tensor, gate: Tensor, after: list[Tensor], ff: Block) -> Tensor:
        x, normed = gate_norm_modulate(x, out, gate, after[1], after[0], eps=EPS)
        return gated_sum(x, after[2], feed(ff, normed))

    x = second_half(x, block.attn.to_out[0](attended[:, split:]), gate, after, block.ff)
    out = block.attn.to_add_out(attended[:, :split])
    return clipped(second_half(text, out, text_gate, text_after, block.ff_context)), x


def run_single(
    x: Tensor, mods: Tensor, rotary: Rotary, heads: SimpleNamespace, out: nn.Linear, activate: Callable
) -> Tensor:
    """Run a single-stream block: one product gives queries, keys, values and the feed-forward hidden layer.

    mods: (B, 3 D).
    """
    shift, scale, gate = mods.chunk(3, dim=1)
    product = F.linear(norm_modulate(x, scale, shift, eps=EPS), heads.weight, heads.bias)
    inner = x.shape[2]
    qkv = product[..., : 3 * inner].unflatten(-1, (3, heads.heads, -1))
    cos, sin = (table[:, ::2] for table in rotary)
    query, key = norm_rotary(qkv, heads.gains, cos, sin, eps=heads.eps)
    middle = activate(product[..., 3 * inner :])
    # the output product in two halves, which saves the concatenation of their inputs
    y = F.linear(attend(query, key, qkv[:, :, 2]), out.weight[:, :inner], out.bias)
    y.flatten(0, 1).addmm_(middle.flatten(0, 1), out.weight[:, inner:].t())
    return clipped(gated_sum(x, gate, y))


# FLUX.1


def prepare_flux(block: Block) -> SimpleNamespace:
    return prepare_streams(block, "FluxAttnProcessor")


def modulations_flux(block: Block, temb: Tensor) -> tuple[Tensor, Tensor]:
    """Modulations of the two norms from the embedding of time and prompt: (B, 6 D) each."""
    active = F.silu(temb)
    return block.norm1.linear(active), block.norm1_context.linear(active)


def run_flux(
    block: Block,
    hidden_states: Tensor,
    encoder_hidden_states: Tensor,
    temb: Tensor | None,
    image_rotary_emb: Rotary | None = None,
    joint_attention_kwargs: dict | None = None,
) -> tuple[Tensor, Tensor]:
    if joint_attention_kwargs or image_rotary_emb is None:
        given = (temb, image_rotary_emb, joint_attention_kwargs)
        return type(block).forward(block, hidden_states, encoder_hidden_states, *given)
    image_mods, text_mods = modulations_of(block, modulations_flux, temb)
    feed = nn.Module.__call__
    return run_streams(
        block, hidden_states, encoder_hidden_states, (image_mods, text_mods), image_rotary_emb, feed
    )


def prepare_flux_single(block: Block) -> SimpleNamespace:
    attention = block.attn
    demand_processor(attention, "FluxAttnProcessor")
    demand_plain([block.proj_mlp, block.proj_out])
    heads = heads_of(attention, ("to_q", "to_k", "to_v"), ("norm_q", "norm_k"))
    heads.weight, heads.bias = precompute.pack(
        [attention.to_q, attention.to_k, attention.to_v, block.proj_mlp]
    )
    return SimpleNamespace(heads=heads)


def modulations_flux_single(block: Block, temb: Tensor) -> tuple[Tensor]:
    """Modulations from the embedding of time and prompt: (B, 3 D), shift, scale, gate."""
    return (block.norm.linear(F.silu(temb)),)


def run_flux_single(
    block: Block,
    hidden_states: Tensor,
    encoder_hidden_states: Tensor,
    temb: Tensor | None,
    image_rotary_emb: Rotary | None = None,
    joint_attention_kwargs: dict | None = None,
) -> tuple[Tensor, Tensor]:
    if joint_attention_kwargs or image_rotary_emb is None:
        given = (temb, image_rotary_emb, joint_attention_kwargs)
        return type(block).forward(block, hidden_states, encoder_hidden_states, *given)
    (mods,) = modulations_of(block, modulations_flux_single, temb)
    x = torch.cat((encoder_hidden_states, hidden_states), 1)
    x = run_single(x, mods, image_rotary_emb, block.fused.heads, block.proj_out, gelu)
    split = encoder_hidden_states.shape[1]
    return x[:, :split], x[:, split:]


def gelu(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


# FLUX.2


def prepare_flux2(block: Block) -> SimpleNamespace:
    demand_plain([block.ff.linear_in, block.ff_context.linear_in])
    norms = block.norm1, block.norm1_context, block.norm2, block.norm2_context
    demand(all(norm.eps == EPS for norm in norms), "its norms have another eps")
    return prepare_streams(block, "Flux2AttnProcessor")


def prepare_flux2_modulation(layer: Block) -> SimpleNamespace:
    demand(isinstance(layer.act_fn, nn.SiLU), "its activation is not SiLU")
    return SimpleNamespace()


def modulations_flux2(layer: Block, temb: Tensor) -> tuple[Tensor]:
    """Shared modulations: (B, 6 D) for all two-stream blocks or (B, 3 D) for all single-stream blocks."""
    return (layer.linear(F.silu(temb)),)


def run_flux2_modulation(layer: Block, temb: Tensor) -> Tensor:
    return modulations_of(layer, modulations_flux2, temb)[0]


def run_flux2(
    block: Block,
    hidden_states: Tensor,
    encoder_hidden_states: Tensor,
    temb_mod_img: Tensor,
    temb_mod_txt: Tensor,
    image_rotary_emb: Rotary | None = None,
    joint_attention_kwargs: dict | None = None,
) -> tuple[Tensor, Tensor]:
    if joint_attention_kwargs or image_rotary_emb is None or per_token(temb_mod_img):
        given = (temb_mod_img, temb_mod_txt, image_rotary_emb, joint_attention_kwargs)
        return type(block).forward(block, hidden_states, encoder_hidden_states, *given)
    mods = temb_mod_img.flatten(1), temb_mod_txt.flatten(1)
    return run_streams(block, hidden_states, encoder_hidden_states, mods, image_rotary_emb, gated_feed)


def gated_feed(ff: Block, x: Tensor) -> Tensor:
    return ff.linear_out(linear_glu(x, ff.linear_in.weight, ff.linear_in.bias, "silu", gate_first=True))


def per_token(mod: Tensor) -> bool:
    """Whether the modulation differs between tokens, as with reference tokens."""
    return mod.dim() == 3 and mod.shape[1] > 1


def prepare_flux2_single(block: Block) -> SimpleNamespace:
    attention = block.attn
    demand_processor(attention, "Flux2ParallelSelfAttnProcessor")
    demand_plain([attention.to_qkv_mlp_proj, attention.to_out])
    demand(block.norm.eps == EPS, "its norm has another eps")
    product, gains = (
        attention.to_qkv_mlp_proj,
        torch.stack((attention.norm_q.weight, attention.norm_k.weight)),
    )
    heads = SimpleNamespace(weight=product.weight, bias=product.bias, heads=attention.heads, gains=gains)
    heads.eps = attention.norm_q.eps
    return SimpleNamespace(heads=heads)


def run_flux2_single(
    block: Block,
    hidden_states: Tensor,
    encoder_hidden_states: Tensor | None,
    temb_mod: Tensor,
    image_rotary_emb: Rotary | None = None,
    joint_attention_kwargs: dict | None = None,
    split_hidden_states: bool = False,
    text_seq_len: int | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    if joint_attention_kwargs or image_rotary_emb is None or per_token(temb_mod):
        given = (temb_mod, image_rotary_emb, joint_attention_kwargs, split_hidden_states, text_seq_len)
        return type(block).forward(block, hidden_states, encoder_hidden_states, *given)
    x = hidden_states
    if encoder_hidden_states is not None:
        text_seq_len = encoder_hidden_states.shape[1]
        x = torch.cat((encoder_hidden_states, x), 1)
    x = run_single(x, temb_mod.flatten(1), image_rotary_emb, block.fused.heads, block.attn.to_out, gated)
    return (x[:, :text_seq_len], x[:, text_seq_len:]) if split_hidden_states else x


def gated(x: Tensor) -> Tensor:
    return glu(x, "silu", gate_first=True)
