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

from models.pretrained import fused_tiny, fused_unet
from models.pretrained.fit import Unfit


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


SURGEONS: dict[str, tuple[Callable, Callable]] = {
    "ResnetBlock2D": (fused_unet.prepare_resnet, fused_unet.run_resnet),
    "Transformer2DModel": (fused_unet.prepare_transformer, fused_unet.run_transformer),
    "Upsample2D": (fused_unet.prepare_upsample, fused_unet.run_upsample),
    "EncoderTiny": (fused_tiny.prepare_encoder, fused_tiny.run_encoder),
    "DecoderTiny": (fused_tiny.prepare_decoder, fused_tiny.run_decoder),
}
