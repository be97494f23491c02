"""Fused forward passes for blocks of `diffusers` models: `install_fused_passes`, and `restore` to remove.

Blocks are recognized by their type, and their configuration is checked. A block whose configuration the
fused pass does not support keeps its own forward pass, and the report gives the reason. The weights are not
moved; only `forward` of the instance is replaced. Call `install_fused_passes` again when weights change: the
data derived from them (`fused`) is computed there.
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
    """Counts of fused blocks by type, and of unfused ones by type and reason."""

    fused: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)


def install_fused_passes(model: nn.Module) -> Report:
    """Install fused passes in all blocks of known types in `model`; call again after weights have changed."""
    report, inner = Report(), set()  # inner: modules that a fused block runs itself
    restore(model)
    for module in list(model.modules()):
        name = type(module).__name__
        if name not in FUSED_PASSES or module in inner:
            continue
        prepare, forward = FUSED_PASSES[name]
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
    """Replace the module's forward pass by `forward(module, ...)` until `restore`.

    The module is held by a weak reference. A bound method stored on its own module is a reference cycle,
    which only the garbage collector frees, and never one that `gc.freeze` has set aside.
    """
    own = ref(module)
    module.forward = lambda *args, **kwargs: forward(own(), *args, **kwargs)


def restore(model: nn.Module) -> None:
    """Remove all fused passes from `model`, with the data derived for them."""
    for module in model.modules():
        if "fused" in module.__dict__:
            module.__dict__.pop("forward", None)
            del module.fused


EMBEDDINGS = (  # time embeddings, some with the prompt or a guidance added
    "CombinedTimestepTextProjEmbeddings",
    "CombinedTimestepGuidanceTextProjEmbeddings",
    "Flux2TimestepGuidanceEmbeddings",
    "TimestepEmbedder",
    "SanaCombinedTimestepGuidanceEmbeddings",
)
# by block type: function that computes the modulations from an embedding
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
FUSED_PASSES: dict[str, tuple[Callable, Callable]] = {
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
