"""The catalogue's models at their real size on the meta device: shapes without values; nothing is downloaded.

The configurations are those of the config.json files on the hub, where they differ from the defaults of the
classes in `diffusers`; read from public copies, 2026-11-24 and 2026-11-28. `PARAMETERS` holds the published
parameter counts, against which tests check the modules.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from models.api import ModelError
from models.pretrained.components.autoencoder import Coder
from models.pretrained.components.controlnet import Control
from models.pretrained.components.prompt_cache import Condition
from models.pretrained.families.base import Family
from models.pretrained.families.flux import FluxFamily
from models.pretrained.families.flux2 import Flux2Family
from models.pretrained.families.sana import SanaFamily
from models.pretrained.families.sd3 import SD3Family
from models.pretrained.families.stable_diffusion import UNetFamily
from models.pretrained.families.zimage import ZImageFamily
from models.pretrained.loading.component_loader import alone
from models.pretrained.pretrained_model import Pretrained
from models.pretrained.sources.catalogue import MODELS

META = torch.device("meta")
NO_COMPONENTS = ("is_distilled", "requires_safety_checker", "force_zeros_for_empty_prompt", "add_watermarker")

SD_TURBO = {
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "attention_head_dim": (5, 10, 20, 20),
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
}
SD_15 = {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}
SDXL = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
SD35 = {"joint_attention_dim": 4096, "pooled_projection_dim": 2048, "qk_norm": "rms_norm"}
SD35_MEDIUM = SD35 | {
    "num_layers": 24,
    "num_attention_heads": 24,
    "caption_projection_dim": 1536,
    "pos_embed_max_size": 384,
    "dual_attention_layers": tuple(range(13)),
}
SD35_LARGE = SD35 | {
    "num_layers": 38,
    "num_attention_heads": 38,
    "caption_projection_dim": 2432,
    "pos_embed_max_size": 192,
}
FLUX2_KLEIN = {
    "num_layers": 5,
    "num_single_layers": 20,
    "num_attention_heads": 24,
    "joint_attention_dim": 7680,
    "guidance_embeds": False,
}
SANA_SPRINT = {"guidance_embeds": True, "qk_norm": "rms_norm_across_heads"}
# DC-AE f32c32 sana 1.0
DEEP = {
    "encoder_block_types": ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3,
    "decoder_block_types": ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3,
    "encoder_layers_per_block": (2, 2, 2, 3, 3, 3),
    "decoder_layers_per_block": (3,) * 6,
    "downsample_block_type": "Conv",
    "upsample_block_type": "interpolate",
}
FULL = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
}
FULL_16 = FULL | {"latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False}
TAESD, TAESD_16 = ("AutoencoderTiny", {}), ("AutoencoderTiny", {"latent_channels": 16})


@dataclass(frozen=True)
class Real:
    """Configuration of a published model.

    told: shapes of the prompt tensors that the denoiser takes. config: of the denoiser. coder: class and
    configuration of the autoencoder used for serving; full: those of the full autoencoder.
    """

    family: type[Family]
    pipeline: str
    denoiser: str
    told: dict[str, tuple[int, ...]]
    coder: tuple[str, dict]
    config: dict = field(default_factory=dict)
    full: tuple[str, dict] | None = None
    dtype: torch.dtype = torch.bfloat16
    scheduler: str = "FlowMatchEulerDiscreteScheduler"
    scheduler_config: dict = field(default_factory=dict)


SD_TOLD = {"states": (1, 77, 768)}
TURBO_TOLD = {"states": (1, 77, 1024)}
XL_TOLD = {"states": (1, 77, 2048), "pooled": (1, 1280)}
SD35_TOLD = {"encoder_hidden_states": (1, 333, 4096), "pooled_projections": (1, 2048)}
BETAS = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "timestep_spacing": "trailing",
    "steps_offset": 1,
}


def unet(pipeline: str, told: dict, config: dict) -> Real:
    return Real(
        UNetFamily,
        pipeline,
        "UNet2DConditionModel",
        told,
        TAESD,
        config,
        ("AutoencoderKL", FULL),
        torch.float16,
        "EulerDiscreteScheduler",
        BETAS,
    )


SD, XL = "StableDiffusionImg2ImgPipeline", "StableDiffusionXLImg2ImgPipeline"
REAL: dict[str, Real] = {
    "sd15": unet(SD, SD_TOLD, SD_15),
    "sdxl": unet(XL, XL_TOLD, SDXL),
    "sd-turbo": unet(SD, TURBO_TOLD, SD_TURBO),
    "sdxl-turbo": unet(XL, XL_TOLD, SDXL),
    "lcm": unet(SD, SD_TOLD, SD_15),
    "sd3.5-medium": Real(
        SD3Family,
        "StableDiffusion3Img2ImgPipeline",
        "SD3Transformer2DModel",
        SD35_TOLD,
        TAESD_16,
        SD35_MEDIUM,
        ("AutoencoderKL", FULL_16),
        scheduler_config={"shift": 3.0},
    ),
    "sd3.5-large-turbo": Real(
        SD3Family,
        "StableDiffusion3Img2ImgPipeline",
        "SD3Transformer2DModel",
        SD35_TOLD,
        TAESD_16,
        SD35_LARGE,
        ("AutoencoderKL", FULL_16),
        scheduler_config={"shift": 3.0},
    ),
    "flux-schnell": Real(
        FluxFamily,
        "FluxImg2ImgPipeline",
        "FluxTransformer2DModel",
        {"encoder_hidden_states": (1, 256, 4096), "pooled_projections": (1, 768), "txt_ids": (256, 3)},
        TAESD_16,
        full=("AutoencoderKL", FULL_16),
    ),
    "flux2-klein": Real(
        Flux2Family,
        "Flux2KleinPipeline",
        "Flux2Transformer2DModel",
        {"encoder_hidden_states": (1, 512, 7680), "txt_ids": (1, 512, 4)},
        ("AutoencoderKLFlux2", {}),
        FLUX2_KLEIN,
        scheduler_config={"shift": 3.0, "use_dynamic_shifting": True},
    ),
    "z-image-turbo": Real(
        ZImageFamily,
        "ZImageImg2ImgPipeline",
        "ZImageTransformer2DModel",
        {"words": (64, 2560)},
        TAESD_16,
        full=("AutoencoderKL", FULL_16),
        scheduler_config={"shift": 3.0},
    ),
    "sana-sprint": Real(
        SanaFamily,
        "SanaSprintImg2ImgPipeline",
        "SanaTransformer2DModel",
        {"encoder_hidden_states": (1, 300, 2304), "encoder_attention_mask": (1, 300), "guidance": (1,)},
        ("AutoencoderDC", DEEP),
        SANA_SPRINT,
        scheduler="SCMScheduler",
    ),
}
PARAMETERS = {"sd15": 859_520_964, "sdxl": 2_567_463_684, "sd-turbo": 865_910_724}


def empty(kind: str, config: dict, dtype: torch.dtype, device: torch.device = META) -> Any:
    """Create a `diffusers` module of this class on the meta device; on another device with random weights."""
    import diffusers

    with alone(), META:
        made = getattr(diffusers, kind)(**config).to(dtype)
    made = made.eval().requires_grad_(False)
    return made if device == META else filled(made, device)


@torch.no_grad()
def filled(module: nn.Module, device: torch.device) -> nn.Module:
    """Fill a module with random weights that preserve activation variance; gains are 1, all else 0."""
    module.to_empty(device=device)
    for name, value in (*module.named_parameters(), *module.named_buffers()):
        if value.dim() > 1 and value.is_floating_point():
            value.normal_(std=value[0].numel() ** -0.5)
        else:
            value.fill_(1 if name.endswith(("weight", "running_var")) else 0)
    return module


def told_of(real: Real, device: torch.device = META) -> dict[str, Tensor]:
    """Prompt tensors of the shapes that the text encoders give: without values on META, zeros elsewhere."""
    plain = ("encoder_attention_mask", "txt_ids")
    return {
        name: torch.zeros(shape, device=device, dtype=torch.float32 if name in plain else real.dtype)
        for name, shape in real.told.items()
    }


def empty_family(
    name: str,
    *,
    fuse: bool = True,
    full: bool = False,
    prepare: Callable[[nn.Module], object] = lambda network: None,
    device: torch.device = META,
) -> Family:
    """Create the family of a catalogue model, without text encoders.

    full: use the full autoencoder. prepare: called with the denoiser before the family takes it. device:
    where the weights are; on any but META they are random.
    """
    import diffusers

    real = REAL[name]
    network = empty(real.denoiser, real.config, real.dtype, device)
    prepare(network)
    if full and real.full is None:
        raise ModelError(f"{name} has no autoencoder but the full one")
    kind, config = real.full if full and real.full else real.coder
    vae = empty(kind, config, real.dtype, device)
    if real.family is UNetFamily:
        network = network.to(memory_format=torch.channels_last)
    pipeline = getattr(diffusers, real.pipeline)
    names = [part for part in inspect.signature(pipeline).parameters if part not in NO_COMPONENTS]
    parts: dict[str, Any] = dict.fromkeys(names)
    parts["unet" if "unet" in names else "transformer"] = network
    parts["scheduler"] = getattr(diffusers, real.scheduler)(**real.scheduler_config)
    if "safety_checker" in names:
        parts["requires_safety_checker"] = False
    coder = Coder(vae.to(memory_format=torch.channels_last), fuse=fuse)
    return real.family(pipeline(**parts), coder, MODELS[name].guidance, whole=fuse)


def empty_model(name: str, **options) -> Pretrained:
    """Create a Pretrained model with every prompt already encoded; options: those of `empty_family`."""
    family = empty_family(name, **options)
    model, device = MODELS[name], options.get("device", META)
    told = told_of(REAL[name], device)
    condition = Condition(told, "", told_of(REAL[name], device) if family.guided else None)
    card = replace(model.card(name), device=str(device), dtype=str(family.dtype).removeprefix("torch."))
    graphs = device.type == "cuda"
    made = Pretrained(family, card, model.sampler or family.usual_sampler(), graphs=graphs)
    made.prompts = lambda text: condition  # type: ignore[assignment]  # a stand-in for the cache
    return made


def add_control(model: Pretrained) -> None:
    """Add a ControlNet of the UNet's own size to the model."""
    import diffusers

    family = model.family
    if not isinstance(family, UNetFamily):
        raise ModelError("a ControlNet leads a UNet")
    with alone(), META:
        network = diffusers.ControlNetModel.from_unet(family.network, load_weights_from_unet=False)
        network = network.to(family.dtype)
    family.lead(Control(network.eval().requires_grad_(False)))
