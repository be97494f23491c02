"""Fused passes for the blocks of UNets (SD-Turbo, SD 1.5, SDXL) and of the full autoencoders."""

from __future__ import annotations

from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernels.ops.layernorm import add_layer_norm
from kernels.ops.linear_glu import linear_glu
from models.pretrained.fusion import precompute
from models.pretrained.fusion.checks import demand, norm_of, phases_of, tokens
from models.pretrained.fusion.precompute import Block


def prepare_resnet(block: Block) -> SimpleNamespace:
    timeless = block.time_emb_proj is None
    demand(
        timeless or block.time_embedding_norm == "default",
        f"its time embedding is {block.time_embedding_norm}",
    )
    demand(isinstance(block.nonlinearity, nn.SiLU), "its activation is not SiLU")
    demand(block.upsample is None and block.downsample is None, "it changes the size")
    demand(block.output_scale_factor == 1 and not block.training, "it scales its output, or trains")
    shortcut = block.conv_shortcut
    layers = [block.conv1, block.conv2] + ([] if shortcut is None else [shortcut])
    demand(all(type(layer) is nn.Conv2d for layer in layers), "its convolutions carry adapters: merge them")
    bias = block.conv2.bias
    if shortcut is not None and shortcut.bias is not None:
        bias = bias + shortcut.bias
    return SimpleNamespace(bias=bias, row=None, place=None)


def run_resnet(block: Block, x: Tensor, temb: Tensor | None = None, *_, **__) -> Tensor:
    """Run a residual block: fused norm and activation, time in the bias, shortcut product added in place."""
    fused = block.fused
    h = norm_of(x, block.norm1)
    if fused.row is not None:
        h = F.conv2d(h, block.conv1.weight, fused.row.biases[fused.place], padding=1)
    else:
        h = block.conv1(h)
        if temb is not None:
            h = h + block.time_emb_proj(F.silu(temb))[:, :, None, None]
    h = F.conv2d(norm_of(h, block.norm2), block.conv2.weight, fused.bias, padding=1)
    if block.conv_shortcut is None:
        return h.add_(x)
    h = h.contiguous(memory_format=torch.channels_last)
    tokens(h).flatten(0, 1).addmm_(tokens(x).flatten(0, 1), block.conv_shortcut.weight.flatten(1).t())
    return h


def prepare_transformer(model: Block) -> SimpleNamespace:
    demand(model.is_input_continuous, "its input is no picture")
    blocks: list[Block] = list(model.transformer_blocks)
    for block in blocks:
        demand(type(block).__name__ == "BasicTransformerBlock", "its blocks are of another type")
        demand(block.norm_type == "layer_norm" and block.pos_embed is None, f"its norm is {block.norm_type}")
        demand(block.attn2 is not None and not block.only_cross_attention, "it has not two attentions")
        gate, _, out = block.ff.net
        demand(type(gate).__name__ == "GEGLU", "its feed-forward is no GEGLU")
        layers = [gate.proj, out]
        attentions: list[Block] = [block.attn1, block.attn2]
        for attention in attentions:
            plain = (
                attention.norm_q is None
                and attention.spatial_norm is None
                and not attention.residual_connection
            )
            demand(plain and attention.rescale_output_factor == 1, "its attention has norms or scales")
            layers += [attention.to_q, attention.to_k, attention.to_v, attention.to_out[0]]
        demand(all(type(layer) is nn.Linear for layer in layers), "its products carry adapters: merge them")
    ends = model.transformer_blocks[-1].ff.net[2], model.proj_out
    return SimpleNamespace(
        qkv=[precompute.pack([b.attn1.to_q, b.attn1.to_k, b.attn1.to_v]) for b in model.transformer_blocks],
        bias=model.proj_out.bias if ends[0].bias is None else precompute.bias_after(*ends),
        prompts=None,
    )


def run_transformer(
    model: Block, x: Tensor, encoder_hidden_states: Tensor | None = None, *args, **kwargs
) -> object:
    """Run a Transformer2DModel with each sum fused into the norm or product that follows it.

    A call with masks or other options goes to the model's own forward pass.
    """
    wanted = {**kwargs}
    wanted.pop("return_dict", None)
    if args or any(value is not None and value != {} for value in wanted.values()):
        return type(model).forward(model, x, encoder_hidden_states, *args, **kwargs)
    fused = model.fused
    height, width = x.shape[2:]
    h = tokens(norm_of(x, model.norm, silu=False))
    h = F.linear(h, model.proj_in.weight.flatten(1), model.proj_in.bias)
    owed = None  # bias of the previous block, which the next norm adds
    for number, block in enumerate(model.transformer_blocks):
        prompt = None if fused.prompts is None else fused.prompts[number]
        h = run_block(block, h, owed, fused.qkv[number], prompt, encoder_hidden_states)
        owed = block.ff.net[2].bias
    h = F.linear(h, model.proj_out.weight.flatten(1), fused.bias)
    h = h.add_(tokens(x)).unflatten(1, (height, width)).permute(0, 3, 1, 2)
    return SimpleNamespace(sample=h) if kwargs.get("return_dict", True) else (h,)


def run_block(
    block: Block,
    h: Tensor,
    owed: Tensor | None,
    qkv: tuple[Tensor, Tensor | None],
    prompt: tuple[Tensor, Tensor] | None,
    states: Tensor | None,
) -> Tensor:
    """Run one block on (N, T, C) without its last bias, which the next norm or product adds."""
    if owed is None:
        normed = block.norm1(h)
    else:
        h, normed = add_norm(h, owed.expand_as(h), block.norm1)
    query, key, value = F.linear(normed, *qkv).unflatten(-1, (3, block.attn1.heads, -1)).unbind(2)
    attended = attend(*(part.transpose(1, 2) for part in (query, key, value)))
    h, normed = add_norm(block.attn1.to_out[0](attended), h, block.norm2)
    query = block.attn2.to_q(normed).unflatten(-1, (block.attn2.heads, -1)).transpose(1, 2)
    if prompt is None:
        prompt = precompute.prompt_keys_values(block.attn2, normed if states is None else states)
    h, normed = add_norm(block.attn2.to_out[0](attend(query, *prompt)), h, block.norm3)
    gate, _, out = block.ff.net
    gated = linear_glu(normed, gate.proj.weight, gate.proj.bias, "gelu")
    h.flatten(0, 1).addmm_(gated.flatten(0, 1), out.weight.t())
    return h


def add_norm(x: Tensor, residual: Tensor, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    return add_layer_norm(x, residual, norm.weight, norm.bias, norm.eps)


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


def prepare_upsample(layer: Block) -> SimpleNamespace:
    demand(
        layer.use_conv and not layer.use_conv_transpose and layer.norm is None, "it is no plain convolution"
    )
    conv = layer.conv if layer.name == "conv" else layer.Conv2d_0
    demand(conv.kernel_size == (3, 3), f"its window is {conv.kernel_size}")
    return phases_of(conv)


def run_upsample(layer: Block, x: Tensor, output_size: tuple | None = None, *_, **__) -> Tensor:
    if output_size is not None and tuple(output_size) != (2 * x.shape[2], 2 * x.shape[3]):
        return type(layer).forward(layer, x, output_size)
    return precompute.upsampled_conv(x, layer.fused.phases, layer.fused.bias)
