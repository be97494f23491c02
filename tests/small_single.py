"""Write a small Stable Diffusion 1.5 or XL folder as one file with the original key names."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
UNET = {
    "conv_in.": "input_blocks.0.0.",
    "time_embedding.linear_1.": "time_embed.0.",
    "time_embedding.linear_2.": "time_embed.2.",
    "add_embedding.linear_1.": "label_emb.0.0.",
    "add_embedding.linear_2.": "label_emb.0.2.",
    "mid_block.resnets.0.": "middle_block.0.",
    "mid_block.attentions.0.": "middle_block.1.",
    "mid_block.resnets.1.": "middle_block.2.",
    "conv_norm_out.": "out.0.",
    "conv_out.": "out.2.",
}
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
OPEN_CLIP = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def save_single(pipe, file: Path) -> Path:
    """Save all weights of a `diffusers` pipeline in one file."""
    made = {f"model.diffusion_model.{unet_key(k, pipe.unet)}": w for k, w in pipe.unet.state_dict().items()}
    for key, weight in pipe.vae.state_dict().items():
        name = vae_key(key, len(pipe.vae.config.block_out_channels))
        square = weight.dim() == 2 and "attn_1" in name
        made[f"first_stage_model.{name}"] = weight[..., None, None] if square else weight
    if hasattr(pipe, "text_encoder_2"):
        made |= clip("conditioner.embedders.0.transformer.", pipe.text_encoder)
        made |= open_clip("conditioner.embedders.1.model.", pipe.text_encoder_2)
    else:
        made |= clip("cond_stage_model.transformer.", pipe.text_encoder)
    save_file({key: weight.contiguous() for key, weight in made.items()}, file)
    return file


def unet_key(key: str, unet: nn.Module) -> str:
    per = unet.config.layers_per_block + 1
    for name, first in UNET.items():
        if key.startswith(name):
            return resnet_key(first + key.removeprefix(name))
    side, block, kind, layer, rest = re.match(r"(\w+)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.*)", key).groups()
    block, layer = int(block), int(layer)
    if side == "down" and kind == "downsamplers":
        return f"input_blocks.{per * (block + 1)}.0.{rest.replace('conv', 'op')}"
    if side == "down":
        return resnet_key(f"input_blocks.{1 + per * block + layer}.{int(kind == 'attentions')}.{rest}")
    if kind == "upsamplers":
        with_attention = hasattr(unet.up_blocks[block], "attentions")
        return f"output_blocks.{per * (block + 1) - 1}.{1 + with_attention}.{rest}"
    return resnet_key(f"output_blocks.{per * block + layer}.{int(kind == 'attentions')}.{rest}")


def resnet_key(key: str) -> str:
    for name, first in RESNET.items() if "transformer_blocks" not in key else ():
        key = re.sub(rf"\.{name}\.", f".{first}.", key)
    return key


def vae_key(key: str, blocks: int) -> str:
    found = re.match(r"(\w+)\.(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.*)", key)
    if found:
        side, way, block, kind, layer, rest = found.groups()
        at = int(block) if way == "down" else blocks - 1 - int(block)
        inner = f"block.{layer}" if kind == "resnets" else f"{way}sample"
        key = f"{side}.{way}.{at}.{inner}.{rest}"
    key = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", key)
    if "mid_block.attentions.0." in key:
        for name, first in VAE_ATTENTION.items():
            key = key.replace(f"attentions.0.{name}.", f"attentions.0.{first}.")
    key = key.replace("mid_block.attentions.0", "mid.attn_1")
    return key.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")


def clip(prefix: str, encoder: nn.Module) -> dict[str, Tensor]:
    weights = encoder.state_dict().items()
    return {prefix + "text_model." + key.removeprefix("text_model."): weight for key, weight in weights}


def open_clip(prefix: str, encoder: nn.Module) -> dict[str, Tensor]:
    """Convert to the OpenCLIP layout: fused query, key and value matrix, transposed projection."""
    weights = {key.removeprefix("text_model."): weight for key, weight in encoder.state_dict().items()}
    made = {
        "token_embedding.weight": weights["embeddings.token_embedding.weight"],
        "positional_embedding": weights["embeddings.position_embedding.weight"],
        "text_projection": weights["text_projection.weight"].T,
        "ln_final.weight": weights["final_layer_norm.weight"],
        "ln_final.bias": weights["final_layer_norm.bias"],
    }
    for key, weight in weights.items():
        found = re.match(r"encoder\.layers\.(\d+)\.(.*)\.(weight|bias)", key)
        if found and found[2] in OPEN_CLIP:
            made[f"transformer.resblocks.{found[1]}.{OPEN_CLIP[found[2]]}.{found[3]}"] = weight
        elif found and found[2] == "self_attn.q_proj":
            three = [weights[key.replace("q_proj", f"{name}_proj")] for name in "qkv"]
            made[f"transformer.resblocks.{found[1]}.attn.in_proj_{found[3]}"] = torch.cat(three)
    return {prefix + key: weight for key, weight in made.items()}
