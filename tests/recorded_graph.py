"""A stand-in for the capture of a CUDA graph: a tape of what torch dispatched, and the places it wrote to.

As with a graph, Python's part is frozen: a replay runs the same ops on the same tensors, wherever the numbers
in them came from. What a graph cannot hold (a value read back, a tensor made on the host) is refused.
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
    """In the place of models.device.cuda_graphs.capture_cuda."""
    with torch.inference_mode():
        function(**inputs)  # tables that a model makes once are made
        with OpRecording() as made:
            output = function(**inputs)
    return made.replay, output
