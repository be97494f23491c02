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
from weakref import ref

from torch import nn

from models.pretrained.fusion import (
    dc_autoencoder,
    flux,
    sana,
    tiny_autoencoder,
    transformer_ends,
    transformers,
    unet,
)
from models.pretrained.fusion.checks import Unfit


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
        cover(module, forward)
        report.fused[name] += 1
        inner.update(module.modules())
    return report


def cover(module: nn.Module, forward: Callable) -> None:
    """Have `forward(module, ...)` run in place of the module's own forward pass, until `restore`.

    The module is referred to weakly. A bound method stored on its own module is a reference cycle, which only
    the garbage collector frees, and never one that `gc.freeze` has set aside.
    """
    own = ref(module)
    module.forward = lambda *args, **kwargs: forward(own(), *args, **kwargs)


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
    "JointTransformerBlock": transformers.modulations_sd3,
    "FluxTransformerBlock": flux.modulations_flux,
    "FluxSingleTransformerBlock": flux.modulations_flux_single,
    "Flux2Modulation": flux.modulations_flux2,
    "ZImageTransformerBlock": transformers.modulations_zimage,
    "SanaTransformerBlock": sana.modulations_sana,
    "AdaLayerNormContinuous": transformer_ends.modulations_last,
    "FinalLayer": transformer_ends.modulations_last_zimage,
    "SanaModulatedNorm": transformer_ends.modulations_last_sana,
    **dict.fromkeys(EMBEDDINGS, transformer_ends.modulations_embedding),
}
SURGEONS: dict[str, tuple[Callable, Callable]] = {
    "ResnetBlock2D": (unet.prepare_resnet, unet.run_resnet),
    "Transformer2DModel": (unet.prepare_transformer, unet.run_transformer),
    "Upsample2D": (unet.prepare_upsample, unet.run_upsample),
    "JointTransformerBlock": (transformers.prepare_sd3, transformers.run_sd3),
    "FluxTransformerBlock": (flux.prepare_flux, flux.run_flux),
    "FluxSingleTransformerBlock": (flux.prepare_flux_single, flux.run_flux_single),
    "Flux2Modulation": (flux.prepare_flux2_modulation, flux.run_flux2_modulation),
    "Flux2TransformerBlock": (flux.prepare_flux2, flux.run_flux2),
    "Flux2SingleTransformerBlock": (flux.prepare_flux2_single, flux.run_flux2_single),
    "SanaTransformerBlock": (sana.prepare_sana, sana.run_sana),
    "ZImageTransformerBlock": (transformers.prepare_zimage, transformers.run_zimage),
    "AdaLayerNormContinuous": (transformer_ends.prepare_last, transformer_ends.run_last),
    "FinalLayer": (transformer_ends.prepare_last_zimage, transformer_ends.run_last_zimage),
    "SanaModulatedNorm": (transformer_ends.prepare_last_sana, transformer_ends.run_last_sana),
    **dict.fromkeys(EMBEDDINGS, (transformer_ends.prepare_embedding, transformer_ends.run_embedding)),
    "ResBlock": (dc_autoencoder.prepare_block, dc_autoencoder.run_block),
    "GLUMBConv": (dc_autoencoder.prepare_feed, dc_autoencoder.run_feed),
    "SanaMultiscaleLinearAttention": (dc_autoencoder.prepare_attention, dc_autoencoder.run_attention),
    "DCUpBlock2d": (dc_autoencoder.prepare_up, dc_autoencoder.run_up),
    "RMSNorm": (dc_autoencoder.prepare_norm, dc_autoencoder.run_norm),
    "EncoderTiny": (tiny_autoencoder.prepare_encoder, tiny_autoencoder.run_encoder),
    "DecoderTiny": (tiny_autoencoder.prepare_decoder, tiny_autoencoder.run_decoder),
}
