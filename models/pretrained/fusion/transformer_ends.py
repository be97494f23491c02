"""Fused passes for the ends of a transformer: the embedding of time on the way in, the last norm on the way
out."""

from __future__ import annotations

from types import SimpleNamespace

import torch.nn.functional as F
from torch import Tensor, nn

from kernels.ops.norm_modulate import norm_modulate
from models.pretrained.fusion.checks import demand, modulations_of, served
from models.pretrained.fusion.precompute import Block


def prepare_embedding(layer: Block) -> SimpleNamespace:
    return SimpleNamespace()


def modulations_embedding(layer: Block, embedding: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return embedding[:2] if isinstance(embedding, tuple) else (embedding,)


def run_embedding(layer: Block, *args, **kwargs) -> Tensor | tuple[Tensor, ...]:
    """What the row holds of it; SANA's embeds twice."""
    if not served(layer):
        return type(layer).forward(layer, *args, **kwargs)
    made = modulations_of(layer, modulations_embedding, None)
    return made[0] if len(made) == 1 else made


def demand_layer_norm(norm: Block) -> None:
    demand(isinstance(norm, nn.LayerNorm) and norm.weight is None, "its norm is no plain LayerNorm")


# SD 3.5 and FLUX


def prepare_last(layer: Block) -> SimpleNamespace:
    demand_layer_norm(layer.norm)
    return SimpleNamespace()


def modulations_last(layer: Block, temb: Tensor) -> tuple[Tensor]:
    """(B, 2 D): scale and shift."""
    return (layer.linear(F.silu(temb).to(layer.linear.weight.dtype)),)


def run_last(layer: Block, x: Tensor, conditioning_embedding: Tensor) -> Tensor:
    scale, shift = modulations_of(layer, modulations_last, conditioning_embedding)[0].chunk(2, dim=1)
    return norm_modulate(x, scale, shift, eps=layer.norm.eps)


# Z-Image


def prepare_last_zimage(layer: Block) -> SimpleNamespace:
    demand_layer_norm(layer.norm_final)
    return SimpleNamespace()


def modulations_last_zimage(layer: Block, embedding: Tensor) -> tuple[Tensor]:
    """(B, D): the scale."""
    return (layer.adaLN_modulation(embedding),)


def run_last_zimage(
    layer: Block, x: Tensor, c: Tensor | None = None, noise_mask: Tensor | None = None, **given
) -> Tensor:
    if noise_mask is not None:
        return type(layer).forward(layer, x, c, noise_mask, **given)
    (scale,) = modulations_of(layer, modulations_last_zimage, c)
    return layer.linear(norm_modulate(x, scale, eps=layer.norm_final.eps))


# SANA


def prepare_last_sana(layer: Block) -> SimpleNamespace:
    demand_layer_norm(layer.norm)
    return SimpleNamespace()


def modulations_last_sana(layer: Block, embedding: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor]:
    """(B, 2, D): shift and scale, of the conditions and the model's own table, the last two of the three."""
    _, conditions, table = embedding
    return (table + conditions[:, None],)


def run_last_sana(layer: Block, x: Tensor, temb: Tensor, scale_shift_table: Tensor) -> Tensor:
    (made,) = modulations_of(layer, modulations_last_sana, (temb, temb, scale_shift_table))
    shift, scale = made.unbind(1)
    return norm_modulate(x, scale, shift, eps=layer.norm.eps)
