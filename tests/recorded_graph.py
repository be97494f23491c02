"""CPU stand-in for CUDA graph capture: records the ops that torch dispatches and their output tensors.

As with a CUDA graph, Python code does not run again: a replay runs the same ops on the same tensors and
writes into the same outputs. Ops that a graph cannot contain (a value read back to the host, a tensor made on
the host) raise RuntimeError.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from kernels.tools.launch_counter import tensors

FORBIDDEN = {"_local_scalar_dense", "lift_fresh", "nonzero", "masked_select", "unique_dim"}


class OpRecording(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.ops: list[tuple] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, function.name().split("::")[1].split(".")[0]
        if name in FORBIDDEN:
            raise RuntimeError(f"operation not permitted when stream is capturing: {name}")
        out = function(*args, **kwargs)
        self.ops.append((function, args, kwargs, out))
        return out

    def replay(self) -> None:
        for function, args, kwargs, out in self.ops:
            made = function(*args, **kwargs)
            for place, value in zip(tensors((out,)), tensors((made,)), strict=True):
                if place.data_ptr() != value.data_ptr():
                    place.copy_(value)


def record_graph(
    function: Callable[..., Tensor], inputs: dict[str, Tensor]
) -> tuple[Callable[[], None], Tensor]:
    """Replacement for models.device.cuda_graphs.capture_cuda."""
    with torch.inference_mode():
        function(**inputs)  # warm-up: builds the tables that a model caches
        with OpRecording() as made:
            output = function(**inputs)
    return made.replay, output
