"""Fused forward passes for blocks of `diffusers` models: `operate` puts them in, `restore` takes them out.

A block is known by its type and looked at before it is touched: one that is set up in another way than its
fused pass allows keeps its own, and the report says why. Weights stay where they are; only `forward` of the
instance is covered. What is derived from weights (`fused`) must be made anew, by `operate`, when they
change.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import MethodType

import torch
from torch import Tensor, nn

from models.pretrained import folds, fused_flux, fused_tiny, fused_transformers, fused_unet
from models.pretrained.fit import Unfit
from models.pretrained.folds import Saving


@dataclass
class Report:
    """What an operation did: fused blocks by type, and why others of these types were left."""

    fused: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)


def operate(model: nn.Module) -> Report:
    """Give every block of a known type in `model` its fused pass; anew after its weights have changed."""
    report = Report()
    restore(model)
    for module in list(model.modules()):
        name = type(module).__name__
        if name not in SURGEONS:
            continue
        prepare, forward = SURGEONS[name]
        try:
            module.fused = prepare(module)
        except Unfit as reason:
            report.left[f"{name}: {reason}"] += 1
            continue
        module.forward = MethodType(forward, module)
        report.fused[name] += 1
    return report


def restore(model: nn.Module) -> None:
    """Take all fused passes out of `model`, and what was made for them."""
    for module in model.modules():
        if "fused" in module.__dict__:
            module.__dict__.pop("forward", None)
            del module.fused


class Clock(threading.local):
    """The step that runs, one for each thread: a graph is captured beside the frames that are served."""

    step = 0


@torch.no_grad()
def fold_modulations(model: nn.Module, embeddings: list[Tensor], clock: Clock) -> Saving:
    """Make the modulations of every fused block once for each timestep; blocks then take those of clock.step.

    embeddings: what the model hands to its blocks, one for each step (SD 3.5, FLUX.1: of time and prompt;
    Z-Image: of time). Again for another prompt: tensors keep their places.
    """
    saving = Saving()
    for block in model.modules():
        name = type(block).__name__
        if "fused" not in vars(block) or name not in MODULATIONS:
            continue
        make, layers = MODULATIONS[name]
        folds.keep(block.fused, "mods", [make(block, embedding) for embedding in embeddings])
        block.fused.clock = clock
        read = [layer for layer in layers(block) if layer is not None]
        flops = sum(
            2 * weight.numel() for layer in read for weight in layer.parameters() if weight.dim() == 2
        )
        saving += Saving(flops, folds.weights_of(*read), len(read))
    return saving


MODULATIONS: dict[str, tuple[Callable, Callable]] = {
    "JointTransformerBlock": (
        fused_transformers.modulations_sd3,
        lambda block: (block.norm1.linear, block.norm1_context.linear),
    ),
    "FluxTransformerBlock": (
        fused_flux.modulations_flux,
        lambda block: (block.norm1.linear, block.norm1_context.linear),
    ),
    "FluxSingleTransformerBlock": (
        fused_flux.modulations_flux_single,
        lambda block: (block.norm.linear,),
    ),
    "ZImageTransformerBlock": (
        fused_transformers.modulations_zimage,
        lambda block: (getattr(block, "adaLN_modulation", None),),
    ),
}
SURGEONS: dict[str, tuple[Callable, Callable]] = {
    "ResnetBlock2D": (fused_unet.prepare_resnet, fused_unet.run_resnet),
    "Transformer2DModel": (fused_unet.prepare_transformer, fused_unet.run_transformer),
    "Upsample2D": (fused_unet.prepare_upsample, fused_unet.run_upsample),
    "JointTransformerBlock": (fused_transformers.prepare_sd3, fused_transformers.run_sd3),
    "FluxTransformerBlock": (fused_flux.prepare_flux, fused_flux.run_flux),
    "FluxSingleTransformerBlock": (fused_flux.prepare_flux_single, fused_flux.run_flux_single),
    "Flux2TransformerBlock": (fused_transformers.prepare_flux2, fused_transformers.run_flux2),
    "Flux2SingleTransformerBlock": (
        fused_transformers.prepare_flux2_single,
        fused_transformers.run_flux2_single,
    ),
    "ZImageTransformerBlock": (fused_transformers.prepare_zimage, fused_transformers.run_zimage),
    "EncoderTiny": (fused_tiny.prepare_encoder, fused_tiny.run_encoder),
    "DecoderTiny": (fused_tiny.prepare_decoder, fused_tiny.run_decoder),
}
