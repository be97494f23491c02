"""Fused passes for the two ends of a transformer: the time embedding and the last norm."""

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
    """Return the embedding from the frame's row if it has one. SANA's layer returns two tensors."""
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
    """Scale and shift from the embedding: (B, 2 D)."""
    return (layer.linear(F.silu(temb).to(layer.linear.weight.dtype)),)


def run_last(layer: Block, x: Tensor, conditioning_embedding: Tensor) -> Tensor:
    scale, shift = modulations_of(layer, modulations_last, conditioning_embedding)[0].chunk(2, dim=1)
    return norm_modulate(x, scale, shift, eps=layer.norm.eps)


# Z-Image


def prepare_last_zimage(layer: Block) -> SimpleNamespace:
    demand_layer_norm(layer.norm_final)
    return SimpleNamespace()


def modulations_last_zimage(layer: Block, embedding: Tensor) -> tuple[Tensor]:
    """Scale from the embedding: (B, D)."""
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
    """Shift and scale, (B, 2, D): conditions plus the model's table, the last two of `embedding`."""
    _, conditions, table = embedding
    return (table + conditions[:, None],)


def run_last_sana(layer: Block, x: Tensor, temb: Tensor, scale_shift_table: Tensor) -> Tensor:
    (made,) = modulations_of(layer, modulations_last_sana, (temb, temb, scale_shift_table))
    shift, scale = made.unbind(1)
    return norm_modulate(x, scale, shift, eps=layer.norm.eps)
