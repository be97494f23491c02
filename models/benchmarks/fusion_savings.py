"""What the fused passes and the folds take from one evaluation of each transformer: `python -m
models.benchmarks.fusion_savings [--json]`.

Real configurations, 512x512, batch of one, on shapes alone: launches, FLOPs and bytes as `diffusers` runs the
transformer, with fused passes, and with all that prompt and time alone decide folded; the deep autoencoder
there and back. Counted, not measured.
"""

from __future__ import annotations

import inspect
import json
import sys
from dataclasses import dataclass, field

import torch

from kernels.tools.launch_counter import Launched, record, total
from models.pretrained.components.autoencoder import Coder
from models.pretrained.components.prompt_cache import Condition
from models.pretrained.families.base import Family, Size
from models.pretrained.families.flux import FluxFamily
from models.pretrained.families.flux2 import Flux2Family
from models.pretrained.families.sana import SanaFamily
from models.pretrained.families.sd3 import SD3Family
from models.pretrained.families.zimage import ZImageFamily

SIZE = Size(512, 512)
TIME = 0.5
OPTIONS = ("is_distilled",)  # of pipelines, that are no components


@dataclass(frozen=True)
class Real:
    """A published transformer. told: shapes of what it is told of a prompt; config: where it differs from the
    defaults of its class in `diffusers`."""

    family: type[Family]
    pipeline: str
    transformer: str
    told: dict[str, tuple[int, ...]]
    config: dict = field(default_factory=dict)


REAL = {
    "SD 3.5 medium": Real(
        SD3Family,
        "StableDiffusion3Pipeline",
        "SD3Transformer2DModel",
        {"encoder_hidden_states": (1, 333, 4096), "pooled_projections": (1, 2048)},
        {
            "num_layers": 24,
            "num_attention_heads": 24,
            "caption_projection_dim": 1536,
            "joint_attention_dim": 4096,
            "pooled_projection_dim": 2048,
            "pos_embed_max_size": 384,
            "qk_norm": "rms_norm",
            "dual_attention_layers": tuple(range(13)),
        },
    ),
    "FLUX.1 schnell": Real(
        FluxFamily,
        "FluxPipeline",
        "FluxTransformer2DModel",
        {
            "encoder_hidden_states": (1, 256, 4096),
            "pooled_projections": (1, 768),
            "txt_ids": (256, 3),
        },
    ),
    "FLUX.2 klein 4B": Real(
        Flux2Family,
        "Flux2KleinPipeline",
        "Flux2Transformer2DModel",
        {"encoder_hidden_states": (1, 512, 7680), "txt_ids": (1, 512, 4)},
        {
            "num_layers": 5,
            "num_single_layers": 20,
            "num_attention_heads": 24,
            "joint_attention_dim": 7680,
            "guidance_embeds": False,
        },
    ),
    "Z-Image Turbo": Real(ZImageFamily, "ZImagePipeline", "ZImageTransformer2DModel", {"words": (64, 2560)}),
    "SANA-Sprint 1.6B": Real(
        SanaFamily,
        "SanaSprintPipeline",
        "SanaTransformer2DModel",
        {"encoder_hidden_states": (1, 300, 2304), "encoder_attention_mask": (1, 300), "guidance": (1,)},
        {"guidance_embeds": True, "qk_norm": "rms_norm_across_heads"},
    ),
}


# of SANA, as DC-AE f32c32 sana 1.0 is published
DEEP = {
    "encoder_block_types": ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3,
    "decoder_block_types": ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3,
    "encoder_layers_per_block": (2, 2, 2, 3, 3, 3),
    "decoder_layers_per_block": (3,) * 6,
    "downsample_block_type": "Conv",
    "upsample_block_type": "interpolate",
}


def deep_coder() -> dict[str, list[Launched]]:
    """A picture to its latent and back, as it comes and with fused passes."""
    from diffusers import AutoencoderDC

    with torch.device("meta"):
        vae = AutoencoderDC(**DEEP).bfloat16().eval().to(memory_format=torch.channels_last)
    image = torch.empty((1, 3, *SIZE), device="meta").contiguous(memory_format=torch.channels_last)
    found = {}
    for kind, fuse in (("plain", False), ("fused", True)):
        coder = Coder(vae, fuse=fuse)
        found[kind] = record(lambda coder=coder: coder.decode(coder.encode(image)))
    return found


def empty_family(real: Real) -> Family:
    """The family in bfloat16, as shapes without values, its transformer as it comes."""
    import diffusers

    with torch.device("meta"):
        model = getattr(diffusers, real.transformer)(**real.config)
    model = model.bfloat16().eval().requires_grad_(False)
    kind = getattr(diffusers, real.pipeline)
    parts = dict.fromkeys(name for name in inspect.signature(kind).parameters if name not in OPTIONS)
    parts |= {"transformer": model, "scheduler": diffusers.FlowMatchEulerDiscreteScheduler()}
    return real.family(kind(**parts), None, 0.0, whole=False)


def counted(name: str, *, plain: bool = True) -> dict[str, list[Launched]]:
    """One evaluation as it comes, with fused passes, and with conditions folded as well."""
    family, told = empty_family(REAL[name]), {}
    for part, shape in REAL[name].told.items():
        told[part] = torch.empty(shape, device="meta", dtype=None if "mask" in part else torch.bfloat16)
    side = SIZE.height // family.latent_px
    x = torch.empty((1, family.channels(), side, side), device="meta")
    found = {"plain": record(lambda: family.asked(x, TIME, told))} if plain else {}
    family.ready(True)
    found["fused"] = record(lambda: family.asked(x, TIME, told))
    with torch.no_grad():
        family.prepare(Condition(told), (TIME,), SIZE)
    found["folded"] = record(lambda: family.asked(x, TIME, told))
    return found


def main() -> int:
    rows = {}
    for name in (*REAL, "SANA's coder"):
        for kind, launched in (counted(name) if name in REAL else deep_coder()).items():
            count, flops, size = total(launched)
            rows[f"{name}, {kind}"] = {"launches": count, "gflop": flops / 1e9, "gbyte": size / 1e9}
    if "--json" in sys.argv[1:]:
        print(json.dumps(rows))
        return 0
    print("one evaluation at 512x512, batch of one; counted on shapes alone, not measured")
    print(f"{'':26}{'launches':>9}{'GFLOP':>9}{'GB':>8}")
    for name, row in rows.items():
        print(f"{name:26}{row['launches']:9}{row['gflop']:9.1f}{row['gbyte']:8.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
