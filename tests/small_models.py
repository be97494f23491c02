"""Build small pretrained models with random weights and tiny tokenizers, saved as folders, per family."""

from __future__ import annotations

import json
from pathlib import Path

import diffusers
import numpy as np
import torch
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

PROMPT_DIM = 32
XL_DIMS = (24, 40)  # widths of SDXL's two text encoders; a single-file loader tells them apart by width


def scatter(model: nn.Module, seed: int = 0) -> nn.Module:
    """Set random weights with nonzero gates and biases, scaled to keep activations near one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() < 2:
                base = 1.0 if name.endswith("weight") else 0.0
                weight.copy_(base + 0.05 * torch.randn(weight.shape, generator=generator))
            else:
                fan = weight[0].numel()
                weight.copy_(torch.randn(weight.shape, generator=generator) / fan**0.5)
    return model.eval().requires_grad_(False)


def clip_tokenizer(folder: Path, most: int = 16) -> CLIPTokenizer:
    """CLIP tokenizer with single letters and two merges, enough to tell prompts apart."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    words = [*letters, *(f"{c}</w>" for c in letters), "la", "lake</w>", "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: at for at, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\nl a\n")
    return CLIPTokenizer(
        str(folder / "vocab.json"),
        str(folder / "merges.txt"),
        model_max_length=most,
        pad_token="<|endoftext|>",
    )


def clip_encoder(projected: bool = False, dim: int = PROMPT_DIM, most: int = 16) -> nn.Module:
    config = CLIPTextConfig(
        vocab_size=60,
        hidden_size=dim,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=most,
        projection_dim=dim,
        bos_token_id=54,
        eos_token_id=55,
        pad_token_id=55,
    )
    return scatter((CLIPTextModelWithProjection if projected else CLIPTextModel)(config), 1)


def small_vae(channels: int = 4, **options) -> nn.Module:
    """An AutoencoderKL that downsamples by 8 and has a near-zero posterior variance."""
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=channels,
        norm_num_groups=4,
        layers_per_block=1,
        **options,
    )
    scatter(vae, 2)
    last = vae.encoder.conv_out if vae.quant_conv is None else vae.quant_conv
    with torch.no_grad():
        last.weight[channels:] = 0
        last.bias[channels:] = -60.0
    return vae


def small_tiny(channels: int = 4) -> nn.Module:
    widths = {"encoder_block_out_channels": (16,) * 4, "decoder_block_out_channels": (16,) * 4}
    return scatter(diffusers.AutoencoderTiny(latent_channels=channels, **widths), 3)


def small_unet(large: bool = False, **options) -> nn.Module:
    config = {
        "block_out_channels": (16, 32),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": sum(XL_DIMS) if large else PROMPT_DIM,
        "attention_head_dim": 8,
        "norm_num_groups": 8,
        "use_linear_projection": True,
        "sample_size": 64,
    }
    if large:
        config |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 6 * 8 + XL_DIMS[1],
        }
    return scatter(diffusers.UNet2DConditionModel(**config, **options))


def trained_at(kind: str = "EulerDiscreteScheduler", **options):
    common = {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "timestep_spacing": "trailing",
        "steps_offset": 1,
    }
    return getattr(diffusers, kind)(**(common | options))


def save_sd(folder: Path, *, scheduler=None, tiny: bool = False, **unet) -> Path:
    """Save a model in the layout of Stable Diffusion 1.5. tiny: also save a tiny autoencoder."""
    pipe = diffusers.StableDiffusionPipeline(
        vae=small_vae(),
        text_encoder=clip_encoder(),
        tokenizer=clip_tokenizer(folder.with_name(folder.name + "-words")),
        unet=small_unet(**unet),
        scheduler=scheduler or trained_at(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.save_pretrained(folder)
    if tiny:
        small_tiny().save_pretrained(folder / "taesd")
    return folder


def save_sdxl(folder: Path) -> Path:
    words = folder.with_name(folder.name + "-words")
    pipe = diffusers.StableDiffusionXLPipeline(
        vae=small_vae(),
        text_encoder=clip_encoder(dim=XL_DIMS[0]),
        text_encoder_2=clip_encoder(projected=True, dim=XL_DIMS[1]),
        tokenizer=clip_tokenizer(words),
        tokenizer_2=clip_tokenizer(words),
        unet=small_unet(large=True),
        scheduler=trained_at(),
    )
    pipe.save_pretrained(folder)
    return folder


def save_control(folder: Path) -> Path:
    """Save a ControlNet for the UNet of a saved model next to it."""
    unet = diffusers.UNet2DConditionModel.from_pretrained(folder / "unet")
    hints = {"conditioning_embedding_out_channels": (8, 8, 8, 8)}
    network = diffusers.ControlNetModel.from_unet(unet, **hints, load_weights_from_unet=False)
    scatter(network, 7).save_pretrained(folder / "controlnet")
    return folder


def save_lora(model: Path, folder: Path) -> Path:
    """Save a LoRA for the attention layers of a saved model's UNet, in the usual file format."""
    weights = lora_weights(diffusers.UNet2DConditionModel.from_pretrained(model / "unet"))
    diffusers.StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=weights)
    return folder / "pytorch_lora_weights.safetensors"


def lora_weights(network: nn.Module) -> dict[str, torch.Tensor]:
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    network.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "to_v"]))
    generator = torch.Generator().manual_seed(3)
    for name, weight in network.named_parameters():
        if "lora_" in name:
            weight.data.normal_(generator=generator)
    return get_peft_model_state_dict(network)


def painted(side: int = 256) -> np.ndarray:
    """Opaque paper (side, side, 4) uint8 with a gradient and a bar."""
    rows = np.linspace(20, 230, side, dtype=np.uint8)
    paper = np.full((side, side, 4), 255, np.uint8)
    paper[..., 0], paper[..., 1] = rows[:, None], rows[None, :]
    paper[side // 4 : side // 2, :, 2] = 40
    return paper
