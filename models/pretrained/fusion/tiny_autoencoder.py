"""Fused passes for the tiny autoencoders (TAESD): a sequence of fused convolutions."""

from __future__ import annotations

from types import SimpleNamespace

from torch import Tensor, nn

from kernels.ops.conv import conv3x3
from models.pretrained.fusion import precompute
from models.pretrained.fusion.checks import Unfit, demand, phases_of
from models.pretrained.fusion.precompute import Block


def prepare_tiny(coder: Block) -> list[SimpleNamespace]:
    """Convolutions of an encoder or decoder, each with its activation, skip connection or upsampling."""
    layers = list(coder.layers)
    steps: list[SimpleNamespace] = []
    for number, layer in enumerate(layers):
        after = layers[number + 1] if number + 1 < len(layers) else None
        before = layers[number - 1] if number else None
        if type(layer).__name__ == "AutoencoderTinyBlock":
            relus = [layer.conv[1], layer.conv[3], layer.fuse]
            demand(all(isinstance(act, nn.ReLU) for act in relus), "its activation is not ReLU")
            demand(isinstance(layer.skip, nn.Identity), "a block changes its width")
            steps += [step_of(conv, "relu") for conv in layer.conv[::2]]
            steps[-3].keeps, steps[-1].adds = True, True
        elif isinstance(layer, nn.Upsample):
            plain = layer.mode == "nearest" and layer.scale_factor == 2
            if not plain or not isinstance(after, nn.Conv2d):
                raise Unfit("its upsampling is not nearest by two")
            steps.append(phases_of(after))
        elif isinstance(layer, nn.Conv2d) and not isinstance(before, nn.Upsample):
            steps.append(step_of(layer, "relu" if isinstance(after, nn.ReLU) else "none"))
        else:
            demand(isinstance(layer, nn.ReLU | nn.Conv2d), f"it holds a {type(layer).__name__}")
    return steps


def step_of(conv: nn.Conv2d, activation: str) -> SimpleNamespace:
    kept = {"keeps": False, "adds": False, "phases": None}  # keep input as skip; add that skip; upsample
    return SimpleNamespace(
        weight=conv.weight, bias=conv.bias, activation=activation, stride=conv.stride[0], **kept
    )


def prepare_encoder(coder: Block) -> SimpleNamespace:
    """Prepare an encoder: the 1/2 of (x + 1) / 2, its input range, is folded into the first weights."""
    steps = prepare_tiny(coder)
    steps[0].weight = steps[0].weight / 2
    return SimpleNamespace(steps=steps)


def prepare_decoder(coder: Block) -> SimpleNamespace:
    """Prepare a decoder: the 3 of 3 tanh(x / 3) is folded into the first weights, 2 y - 1 into the last."""
    steps = prepare_tiny(coder)
    steps[0].weight = steps[0].weight * 3
    last = steps[-1]
    if last.phases is not None or last.activation != "none" or last.bias is None:
        raise Unfit("its end is no product")
    last.weight, last.bias = last.weight * 2, last.bias * 2 - 1
    return SimpleNamespace(steps=steps)


def run_steps(x: Tensor, steps: list[SimpleNamespace]) -> Tensor:
    skip = None
    for step in steps:
        if step.phases is not None:
            x = precompute.upsampled_conv(x, step.phases, step.bias)
            continue
        skip = x if step.keeps else skip
        added = skip if step.adds else None
        x = conv3x3(x, step.weight, step.bias, skip=added, activation=step.activation, stride=step.stride)
    return x


def run_encoder(coder: Block, x: Tensor) -> Tensor:
    return run_steps(x + 1, coder.fused.steps)


def run_decoder(coder: Block, x: Tensor) -> Tensor:
    return run_steps((x / 3).tanh_(), coder.fused.steps)
