"""Fused passes for the deep autoencoder of SANA, DC-AE (Chen et al. 2024, arXiv 2410.10733)."""

from __future__ import annotations

from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernels.ops.conv import conv3x3
from models.pretrained.fusion import precompute
from models.pretrained.fusion.checks import demand, gain_of, phases_of, rms, tokens
from models.pretrained.fusion.precompute import Block
from models.pretrained.fusion.sana import feed, weighted

WIDEST = 128  # channels up to which a convolution is memory-bound, so that fusing its activation pays


def picture(x: Tensor, like: Tensor) -> Tensor:
    """View (N, H W, C) as (N, C, H, W) channels-last; like: a tensor of the same height and width."""
    return x.unflatten(1, like.shape[2:]).permute(0, 3, 1, 2)


def norm_of(norm: Block) -> SimpleNamespace:
    """Parameters for `normed` from an RMSNorm with weights and an optional bias."""
    gain, bias = gain_of(norm), getattr(norm, "bias", None)
    demand(norm.eps is not None, "its eps goes by the dtype")
    return SimpleNamespace(gain=gain, bias=None if bias is None else bias[None], eps=norm.eps)


def normed(x: Tensor, norm: SimpleNamespace) -> Tensor:
    return rms(x, norm.gain, norm.eps, norm.bias)


def prepare_block(block: Block) -> SimpleNamespace:
    demand(isinstance(block.nonlinearity, nn.SiLU), "its activation is not SiLU")
    return SimpleNamespace(norm=norm_of(block.norm))


def run_block(block: Block, x: Tensor) -> Tensor:
    """Residual block: two convolutions, a norm over channels, a skip connection."""
    first = block.conv1
    if first.out_channels <= WIDEST:
        h = conv3x3(x, first.weight, first.bias, activation="silu")
    else:
        h = F.silu(first(x), inplace=True)
    h = normed(tokens(F.conv2d(h, block.conv2.weight, padding=1)), block.fused.norm)
    return picture(h.add_(tokens(x)), x)


def prepare_feed(ff: Block) -> SimpleNamespace:
    demand(ff.norm is not None and ff.residual_connection, "it has no norm, or no skip")
    return SimpleNamespace(norm=norm_of(ff.norm))


def run_feed(ff: Block, x: Tensor) -> Tensor:
    h = normed(feed(ff, tokens(x), *x.shape[2:]), ff.fused.norm)
    return picture(h.add_(tokens(x)), x)


def prepare_attention(attention: Block) -> SimpleNamespace:
    demand(attention.residual_connection, "it has no skip")
    weight, _ = precompute.pack([attention.to_q, attention.to_k, attention.to_v])
    return SimpleNamespace(weight=weight, norm=norm_of(attention.norm_out))


def run_attention(attention: Block, x: Tensor) -> Tensor:
    """Multi-scale linear attention on the QKV projection and its convolutions with small kernels.

    The linear form is used at any size. For few keys `diffusers` uses the quadratic form, which is equal.
    """
    fused, heads = attention.fused, attention.attention_head_dim
    qkv = picture(F.linear(tokens(x), fused.weight), x)
    scales = torch.cat([qkv, *(layer(qkv) for layer in attention.to_qkv_multiscale)], 1)
    query, key, value = tokens(scales).float().unflatten(-1, (-1, 3, heads)).permute(3, 0, 2, 1, 4)
    out = weighted(query, key, value, attention.eps).transpose(1, 2).flatten(2).to(x.dtype)
    return picture(normed(attention.to_out(out), fused.norm).add_(tokens(x)), x)


def prepare_up(block: Block) -> SimpleNamespace:
    plain = block.interpolate and block.interpolation_mode == "nearest"
    demand(plain, "it shuffles pixels")
    return phases_of(block.conv)


def run_up(block: Block, x: Tensor) -> Tensor:
    out = precompute.upsampled_conv(x, block.fused.phases, block.fused.bias)
    if not block.shortcut:
        return out
    return out.add_(F.pixel_shuffle(x.repeat_interleave(block.repeats, dim=1), 2))


def prepare_norm(norm: Block) -> SimpleNamespace:
    return norm_of(norm)


def run_norm(norm: Block, x: Tensor) -> Tensor:
    """RMS norm over the last axis, with any number of leading axes."""
    return normed(x.reshape(1, -1, x.shape[-1]), norm.fused).view(x.shape)
