"""Count the floating-point operations of a pretrained model's frame while one runs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch.utils._python_dispatch import TorchDispatchMode

from kernels.tools.launch_counter import products
from models.api import Request


class Counter(TorchDispatchMode):
    """Dispatch mode that counts FLOPs.

    flops: of the matrix products, convolutions and attentions dispatched so far (a multiply-add is two).
    """

    def __init__(self):
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        with self:  # without autograd, composite ops arrive whole
            out = function.decompose(*args, **kwargs)
        if out is not NotImplemented:
            return out
        name = function.name().split("::")[1].split(".")[0]
        out = function(*args, **kwargs)
        if name.startswith("_scaled_dot_product"):
            query, key, value = args[:3]
            self.flops += (
                2 * query.shape[2] * key.shape[2] * (key[..., 0, :].numel() + value[..., 0, :].numel())
            )
        else:
            self.flops += products(name, args, out)
        return out


def gflop_of(function: Callable[[], object]) -> float:
    """FLOPs of one call, in units of 1e9."""
    with Counter() as counter:
        function()
    return counter.flops / 1e9


def count(model, height_px: int, width_px: int) -> tuple[float, float]:
    """Return (FLOPs of encoding and decoding, FLOPs of one step) in units of 1e9.

    model: a `pretrained_model.Pretrained`.
    """
    paper = np.full((height_px, width_px, 4), 255, np.uint8)
    spent = []
    for steps in (1, 2):
        request = Request(paper, steps=steps, strength=1.0)
        if steps in model.card.steps:
            model.prepare(request)  # work done once per prompt is not part of the frame
            spent.append(gflop_of(lambda request=request: model.render(request)))
    step = spent[-1] - spent[0] if len(spent) == 2 else spent[0]
    return spent[0] - step, step
