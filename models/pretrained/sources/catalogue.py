"""Catalogue of pretrained models: hub ids, run settings and sizes. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

from models.api import ModelCard

TINY_SD, TINY_SDXL = "madebyollin/taesd", "madebyollin/taesdxl"
TINY_SD3, TINY_FLUX = "madebyollin/taesd3", "madebyollin/taef1"
CONTROLS = {  # kind -> the ControlNets for Stable Diffusion 1.5 and for XL
    "scribble": ("lllyasviel/control_v11p_sd15_scribble", "xinsir/controlnet-scribble-sdxl-1.0"),
}


@dataclass(frozen=True)
class Sizes:
    """Approximate parameters of each component in billions, from the file sizes on the hub."""

    denoiser: float
    encoders: tuple[float, ...]
    vae: float = 0.084

    @property
    def total(self) -> float:
        return self.denoiser + sum(self.encoders) + self.vae


CLIP_L, CLIP_H, CLIP_G, T5, QWEN3 = 0.123, 0.340, 0.695, 4.76, 4.02  # text encoders, in billions


@dataclass(frozen=True)
class Model:
    """Catalogue entry of a pretrained model.

    hub: its id on the hub. steps: fewest, most and usual number. guidance: 0 or 1 for none. sampler: empty
    for the usual one of its family. tiny: hub id of an autoencoder of a few megabytes for the same latents,
    where there is one. lora: hub id of a LoRA that the model uses. licence: "gated" where the hub requires
    accepting it first. download_gb: where it is not two bytes a parameter.
    """

    hub: str
    family: str
    steps: tuple[int, int, int]
    guidance: float
    strength: float
    licence: str
    about: str
    sizes: Sizes
    tiny: str = ""
    sampler: str = ""
    lora: str = ""
    download_gb: float = 0.0

    @property
    def billions(self) -> float:
        """Parameters of all components, in billions."""
        return self.sizes.total

    def card(self, name: str) -> ModelCard:
        """Return the model's card under this name, before it is loaded."""
        least, most, usual = self.steps
        return ModelCard(
            name=name,
            family=self.family,
            steps=tuple(range(least, most + 1)),
            default_steps=usual,
            default_strength=self.strength,
            licence=self.licence,
            understands_prompt=True,
        )


# Checked on 2026-11-24 against copies of the models' pages on huggingface.co: steps, guidance, licence, gate,
# and the sizes of the files that are downloaded, in GB: sd-turbo 5.21 in float32, sdxl-turbo 6.94 in half
# precision, sd3.5-medium 4.94 + 11.2, sd3.5-large-turbo 16.3 + 11.2, flux2-klein 7.75 + 8.05, z-image-turbo
# 24.6 (float32) + 8.05, sana-sprint 3.2 + 5.23 + 1.25 (float32). FLUX.2 has a tiny autoencoder, which
# AutoencoderTiny cannot load. The turbo models' pages say sai-nc-community, and for commercial use
# stability.ai/license. Not confirmed: that flux2-klein has no gate. Strengths and usual steps of the
# many-step models are ours.
STABILITY, OPEN = "Stability AI Community", "Apache-2.0"
MODELS: dict[str, Model] = {
    "sd15": Model(
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "unet",
        (1, 50, 20),
        7.5,
        0.6,
        "CreativeML OpenRAIL-M",
        "Stable Diffusion 1.5, many steps",
        Sizes(0.860, (CLIP_L,)),
        TINY_SD,
        "dpm++2m",
    ),
    "sdxl": Model(
        "stabilityai/stable-diffusion-xl-base-1.0",
        "unet",
        (1, 50, 20),
        5.0,
        0.6,
        "CreativeML OpenRAIL++-M",
        "Stable Diffusion XL, many steps",
        Sizes(2.567, (CLIP_L, CLIP_G)),
        TINY_SDXL,
        "dpm++2m",
    ),
    "sd-turbo": Model(
        "stabilityai/sd-turbo",
        "unet",
        (1, 4, 1),
        0.0,
        0.7,
        STABILITY,
        "distilled Stable Diffusion 2.1, 1 to 4 steps",
        Sizes(0.866, (CLIP_H,)),
        TINY_SD,
        "euler",
    ),
    "sdxl-turbo": Model(
        "stabilityai/sdxl-turbo",
        "unet",
        (1, 4, 1),
        0.0,
        0.7,
        STABILITY,
        "distilled Stable Diffusion XL, 1 to 4 steps",
        Sizes(2.567, (CLIP_L, CLIP_G)),
        TINY_SDXL,
        "euler-a",
    ),
    "lcm": Model(
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "unet",
        (1, 8, 4),
        1.0,
        0.6,
        "OpenRAIL-M, LoRA OpenRAIL++",
        "Stable Diffusion 1.5 with a consistency LoRA",
        Sizes(0.927, (CLIP_L,)),
        TINY_SD,
        "lcm",
        "latent-consistency/lcm-lora-sdv1-5",
    ),
    "sd3.5-medium": Model(
        "stabilityai/stable-diffusion-3.5-medium",
        "sd3",
        (1, 50, 20),
        4.5,
        0.7,
        f"{STABILITY}, gated",
        "rectified flow, many steps",
        Sizes(2.47, (CLIP_L, CLIP_G, T5)),
        TINY_SD3,
    ),
    "sd3.5-large-turbo": Model(
        "stabilityai/stable-diffusion-3.5-large-turbo",
        "sd3",
        (1, 8, 4),
        0.0,
        0.7,
        f"{STABILITY}, gated",
        "rectified flow, 4 steps",
        Sizes(8.06, (CLIP_L, CLIP_G, T5)),
        TINY_SD3,
    ),
    "flux-schnell": Model(
        "black-forest-labs/FLUX.1-schnell",
        "flux",
        (1, 8, 4),
        0.0,
        0.8,
        f"{OPEN}, gated",
        "rectified flow, 1 to 4 steps",
        Sizes(11.9, (CLIP_L, T5)),
        TINY_FLUX,
    ),
    "flux2-klein": Model(
        "black-forest-labs/FLUX.2-klein-4B",
        "flux2",
        (1, 8, 4),
        1.0,
        0.8,
        OPEN,
        "rectified flow, 4 steps",
        Sizes(3.88, (QWEN3,)),
    ),
    "z-image-turbo": Model(
        "Tongyi-MAI/Z-Image-Turbo",
        "zimage",
        (1, 12, 8),
        0.0,
        0.8,
        OPEN,
        "rectified flow, 8 steps",
        Sizes(6.15, (QWEN3,)),
        TINY_FLUX,
        download_gb=32.8,
    ),
    "sana-sprint": Model(
        "Efficient-Large-Model/Sana_Sprint_1.6B_1024px_diffusers",
        "sana",
        (1, 4, 2),
        4.5,
        0.7,
        "NVIDIA (NSCL v2), Gemma",
        "consistency-distilled, 1 to 4 steps",
        Sizes(1.6, (2.61,), 0.312),
        download_gb=9.7,
    ),
}
# pipeline class of `diffusers`, as named in model_index.json -> family, and its image-editing pipeline
PIPELINES: dict[str, tuple[str, str]] = {
    "StableDiffusionPipeline": ("unet", "StableDiffusionImg2ImgPipeline"),
    "StableDiffusionImg2ImgPipeline": ("unet", "StableDiffusionImg2ImgPipeline"),
    "StableDiffusionXLPipeline": ("unet", "StableDiffusionXLImg2ImgPipeline"),
    "StableDiffusionXLImg2ImgPipeline": ("unet", "StableDiffusionXLImg2ImgPipeline"),
    "StableDiffusion3Pipeline": ("sd3", "StableDiffusion3Img2ImgPipeline"),
    "StableDiffusion3Img2ImgPipeline": ("sd3", "StableDiffusion3Img2ImgPipeline"),
    "FluxPipeline": ("flux", "FluxImg2ImgPipeline"),
    "FluxImg2ImgPipeline": ("flux", "FluxImg2ImgPipeline"),
    "Flux2KleinPipeline": ("flux2", "Flux2KleinPipeline"),
    "ZImagePipeline": ("zimage", "ZImageImg2ImgPipeline"),
    "ZImageImg2ImgPipeline": ("zimage", "ZImageImg2ImgPipeline"),
    "SanaSprintPipeline": ("sana", "SanaSprintImg2ImgPipeline"),
    "SanaSprintImg2ImgPipeline": ("sana", "SanaSprintImg2ImgPipeline"),
}


def for_folder(family: str) -> Model:
    """Default settings for a user's own folder: those of its family, with few steps and no guidance."""
    return Model("", family, (1, 50, 4), 0.0, 0.7, "", "a model of one's own", Sizes(0.0, ()))
