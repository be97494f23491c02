"""Build small flow models with random weights, saved as `diffusers` folders."""

from __future__ import annotations

from pathlib import Path

import diffusers
import torch
from small_models import clip_encoder, clip_tokenizer, scatter, small_vae
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import (
    Gemma2Config,
    Gemma2Model,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Config,
    T5EncoderModel,
)

WORDS = ["<pad>", "<eos>", "<unk>", "a", "lake", "user", "assistant"]
CHAT = "{% for m in messages %}{{ m['role'] + ' ' + m['content'] + ' ' }}{% endfor %}"


def word_tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    made = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )
    made.chat_template = CHAT
    return made


def t5(width: int = 24) -> nn.Module:
    config = T5Config(
        vocab_size=16,
        d_model=width,
        d_kv=8,
        d_ff=32,
        num_layers=1,
        num_heads=2,
        feed_forward_proj="gated-gelu",
    )
    return scatter(T5EncoderModel(config), 4)


def language_model(layers: int, width: int = 16) -> nn.Module:
    config = Qwen3Config(
        vocab_size=16,
        hidden_size=width,
        intermediate_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
    )
    return scatter(Qwen3ForCausalLM(config), 5)


def flow_scheduler(**options):
    return diffusers.FlowMatchEulerDiscreteScheduler(**options)


def sd3_transformer(**options) -> nn.Module:
    config = {
        "sample_size": 32,
        "in_channels": 4,
        "num_layers": 2,
        "attention_head_dim": 8,
        "num_attention_heads": 2,
        "joint_attention_dim": 64,
        "caption_projection_dim": 16,
        "pooled_projection_dim": 64,
        "out_channels": 4,
        "pos_embed_max_size": 32,
        "qk_norm": "rms_norm",
        "dual_attention_layers": (0,),
    }
    return diffusers.SD3Transformer2DModel(**(config | options))


def flux_transformer(**options) -> nn.Module:
    config = {
        "in_channels": 16,
        "num_layers": 1,
        "num_single_layers": 1,
        "attention_head_dim": 8,
        "num_attention_heads": 2,
        "joint_attention_dim": 24,
        "pooled_projection_dim": 32,
        "axes_dims_rope": (2, 2, 4),
        "guidance_embeds": False,
    }
    return diffusers.FluxTransformer2DModel(**(config | options))


def flux2_transformer(**options) -> nn.Module:
    config = {
        "in_channels": 16,
        "num_layers": 1,
        "num_single_layers": 1,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": 48,
        "timestep_guidance_channels": 16,
        "axes_dims_rope": (4, 4, 4, 4),
        "guidance_embeds": False,
    }
    return diffusers.Flux2Transformer2DModel(**(config | options))


def zimage_transformer(**options) -> nn.Module:
    config = {
        "in_channels": 4,
        "dim": 48,
        "n_layers": 2,
        "n_refiner_layers": 1,
        "n_heads": 3,
        "n_kv_heads": 3,
        "cap_feat_dim": 16,
        "axes_dims": [4, 6, 6],
        "axes_lens": [1024, 64, 64],
    }
    return diffusers.ZImageTransformer2DModel(**(config | options))


def sana_transformer(**options) -> nn.Module:
    config = {
        "in_channels": 4,
        "out_channels": 4,
        "num_attention_heads": 2,
        "attention_head_dim": 8,
        "num_layers": 2,
        "num_cross_attention_heads": 2,
        "cross_attention_head_dim": 8,
        "cross_attention_dim": 16,
        "caption_channels": 16,
        "sample_size": 8,
        "patch_size": 1,
        "guidance_embeds": True,
        "qk_norm": "rms_norm_across_heads",
    }
    return diffusers.SanaTransformer2DModel(**(config | options))


def save_sd3(folder: Path) -> Path:
    words = folder.with_name(folder.name + "-words")
    diffusers.StableDiffusion3Pipeline(
        transformer=scatter(sd3_transformer()),
        scheduler=flow_scheduler(shift=3.0),
        vae=small_vae(
            4, shift_factor=0.1, scaling_factor=1.5, use_quant_conv=False, use_post_quant_conv=False
        ),
        text_encoder=clip_encoder(projected=True),
        tokenizer=clip_tokenizer(words),
        text_encoder_2=clip_encoder(projected=True),
        tokenizer_2=clip_tokenizer(words),
        text_encoder_3=t5(64),
        tokenizer_3=word_tokenizer(),
    ).save_pretrained(folder)
    return folder


def save_flux(folder: Path, **options) -> Path:
    diffusers.FluxPipeline(
        transformer=scatter(flux_transformer(**options)),
        scheduler=flow_scheduler(use_dynamic_shifting=True),
        vae=small_vae(
            4, shift_factor=0.1, scaling_factor=0.4, use_quant_conv=False, use_post_quant_conv=False
        ),
        text_encoder=clip_encoder(),
        tokenizer=clip_tokenizer(folder.with_name(folder.name + "-words")),
        text_encoder_2=t5(24),
        tokenizer_2=word_tokenizer(),
    ).save_pretrained(folder)
    return folder


def save_flux2(folder: Path) -> Path:
    vae = diffusers.AutoencoderKLFlux2(
        block_out_channels=(8, 8, 8, 8), latent_channels=4, norm_num_groups=4, layers_per_block=1
    )
    scatter(vae, 2)
    vae.bn.running_mean.normal_(generator=torch.Generator().manual_seed(1))
    vae.bn.running_var.uniform_(0.5, 2, generator=torch.Generator().manual_seed(2))
    diffusers.Flux2KleinPipeline(
        transformer=scatter(flux2_transformer()),
        scheduler=flow_scheduler(use_dynamic_shifting=True),
        vae=vae,
        text_encoder=language_model(28),
        tokenizer=word_tokenizer(),
        is_distilled=True,
    ).save_pretrained(folder)
    return folder


def save_zimage(folder: Path) -> Path:
    diffusers.ZImagePipeline(
        transformer=scatter(zimage_transformer()),
        scheduler=flow_scheduler(shift=3.0),
        vae=small_vae(
            4, shift_factor=0.1, scaling_factor=0.4, use_quant_conv=False, use_post_quant_conv=False
        ),
        text_encoder=language_model(2),
        tokenizer=word_tokenizer(),
    ).save_pretrained(folder)
    return folder


def save_sana(folder: Path) -> Path:
    vae = diffusers.AutoencoderDC(
        latent_channels=4,
        encoder_block_out_channels=(8,) * 6,
        decoder_block_out_channels=(8,) * 6,
        encoder_layers_per_block=(1,) * 6,
        decoder_layers_per_block=(1,) * 6,
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        encoder_qkv_multiscales=((),) * 6,
        decoder_qkv_multiscales=((),) * 6,
        scaling_factor=0.7,
    )
    config = Gemma2Config(
        vocab_size=16,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        query_pre_attn_scalar=8,
    )
    diffusers.SanaSprintPipeline(
        transformer=scatter(sana_transformer()),
        scheduler=diffusers.SCMScheduler(),
        vae=scatter(vae, 2),
        text_encoder=scatter(Gemma2Model(config), 5),
        tokenizer=word_tokenizer(),
    ).save_pretrained(folder)
    return folder


SAVERS = {
    "sd3": save_sd3,
    "flux": save_flux,
    "flux2": save_flux2,
    "zimage": save_zimage,
    "sana": save_sana,
}
PIPELINES = {
    "sd3": diffusers.StableDiffusion3Pipeline,
    "flux": diffusers.FluxPipeline,
    "flux2": diffusers.Flux2KleinPipeline,
    "zimage": diffusers.ZImagePipeline,
    "sana": diffusers.SanaSprintPipeline,
}
TRANSFORMERS = {
    "sd3": sd3_transformer,
    "flux": flux_transformer,
    "flux2": flux2_transformer,
    "zimage": zimage_transformer,
    "sana": sana_transformer,
}
