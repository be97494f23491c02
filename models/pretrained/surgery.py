"""Fused forward passes for blocks of `diffusers` models: `operate` puts them in, `restore` takes them out.

A block is known by its type and looked at before it is touched: one that is set up in another way than its
fused pass allows keeps its own, and the report says why. Weights stay where they are; only `forward` of the
instance is covered. What is derived from weights (`fused`) must be made anew, by `operate`, when they
change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import MethodType

from torch import nn

from models.pretrained import (
    fused_deep,
    fused_ends,
    fused_flux,
    fused_sana,
    fused_tiny,
    fused_transformers,
    fused_unet,
)
from models.pretrained.fit import Unfit


@dataclass
class Report:
    """What an operation did: fused blocks by type, and why others of these types were left."""

    fused: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)


def operate(model: nn.Module) -> Report:
    """Give every block of a known type in `model` its fused pass; anew after its weights have changed."""
    report, inner = Report(), set()  # inner: what a fused block runs itself
    restore(model)
    for module in list(model.modules()):
        name = type(module).__name__
        if name not in SURGEONS or module in inner:
            continue
        prepare, forward = SURGEONS[name]
        try:
            module.fused = prepare(module)
        except Unfit as reason:
            report.left[f"{name}: {reason}"] += 1
            continue
        module.forward = MethodType(forward, module)
        report.fused[name] += 1
        inner.update(module.modules())
    return report


def restore(model: nn.Module) -> None:
    """Take all fused passes out of `model`, and what was made for them."""
    for module in model.modules():
        if "fused" in module.__dict__:
            module.__dict__.pop("forward", None)
            del module.fused


EMBEDDINGS = (  # of time, with the prompt's own or a guidance added
    "CombinedTimestepTextProjEmbeddings",
    "CombinedTimestepGuidanceTextProjEmbeddings",
    "Flux2TimestepGuidanceEmbeddings",
    "TimestepEmbedder",
    "SanaCombinedTimestepGuidanceEmbeddings",
)
# how modulations are made of an embedding
MODULATIONS: dict[str, Callable] = {
    "JointTransformerBlock": fused_transformers.modulations_sd3,
    "FluxTransformerBlock": fused_flux.modulations_flux,
    "FluxSingleTransformerBlock": fused_flux.modulations_flux_single,
    "Flux2Modulation": fused_flux.modulations_flux2,
    "ZImageTransformerBlock": fused_transformers.modulations_zimage,
    "SanaTransformerBlock": fused_sana.modulations_sana,
    "AdaLayerNormContinuous": fused_ends.modulations_last,
    "FinalLayer": fused_ends.modulations_last_zimage,
    "SanaModulatedNorm": fused_ends.modulations_last_sana,
    **dict.fromkeys(EMBEDDINGS, fused_ends.modulations_embedding),
}
SURGEONS: dict[str, tuple[Callable, Callable]] = {
    "ResnetBlock2D": (fused_unet.prepare_resnet, fused_unet.run_resnet),
    "Transformer2DModel": (fused_unet.prepare_transformer, fused_unet.run_transformer),
    "Upsample2D": (fused_unet.prepare_upsample, fused_unet.run_upsample),
    "JointTransformerBlock": (fused_transformers.prepare_sd3, fused_transformers.run_sd3),
    "FluxTransformerBlock": (fused_flux.prepare_flux, fused_flux.run_flux),
    "FluxSingleTransformerBlock": (fused_flux.prepare_flux_single, fused_flux.run_flux_single),
    "Flux2Modulation": (fused_flux.prepare_flux2_modulation, fused_flux.run_flux2_modulation),
    "Flux2TransformerBlock": (fused_flux.prepare_flux2, fused_flux.run_flux2),
    "Flux2SingleTransformerBlock": (fused_flux.prepare_flux2_single, fused_flux.run_flux2_single),
    "SanaTransformerBlock": (fused_sana.prepare_sana, fused_sana.run_sana),
    "ZImageTransformerBlock": (fused_transformers.prepare_zimage, fused_transformers.run_zimage),
    "AdaLayerNormContinuous": (fused_ends.prepare_last, fused_ends.run_last),
    "FinalLayer": (fused_ends.prepare_last_zimage, fused_ends.run_last_zimage),
    "SanaModulatedNorm": (fused_ends.prepare_last_sana, fused_ends.run_last_sana),
    **dict.fromkeys(EMBEDDINGS, (fused_ends.prepare_embedding, fused_ends.run_embedding)),
    "ResBlock": (fused_deep.prepare_block, fused_deep.run_block),
    "GLUMBConv": (fused_deep.prepare_feed, fused_deep.run_feed),
    "SanaMultiscaleLinearAttention": (fused_deep.prepare_attention, fused_deep.run_attention),
    "DCUpBlock2d": (fused_deep.prepare_up, fused_deep.run_up),
    "RMSNorm": (fused_deep.prepare_norm, fused_deep.run_norm),
    "EncoderTiny": (fused_tiny.prepare_encoder, fused_tiny.run_encoder),
    "DecoderTiny": (fused_tiny.prepare_decoder, fused_tiny.run_decoder),
}
