"""Count the GPU launches, FLOPs and bytes of a forward pass, without a GPU.

The pass runs on meta tensors, which have shapes but no values. Every dispatched op counts once, except views
and mere allocations. Attention counts once, even where torch decomposes it because there is no GPU. Ops
without meta tensors are arithmetic on the host and do not count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd
FREE = {"_unsafe_view", "_reshape_alias", "lift_fresh", "alias", "detach", "detach_"}
ALLOCATIONS = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}


class Launched(NamedTuple):
    """Work of one op.

    FLOPs of products only: a multiply-add is two, sums and activations are not counted. Bytes: all tensors,
    read or written once. host: a copy between host and device, which needs no kernel.
    """

    name: str
    flops: int
    bytes: int
    host: bool = False

    def seconds(self, flops_per_s: float, bytes_per_s: float) -> float:
        """Lower bound of the time: FLOPs at the peak, or bytes at memory bandwidth, whichever is longer."""
        return max(self.flops / flops_per_s, self.bytes / bytes_per_s)


def record(function: Callable[[], object]) -> list[Launched]:
    """Record the ops that `function` dispatches, in order. Its tensors must be meta tensors."""
    found: list[Launched] = []
    with torch.no_grad(), Attention(found), Dispatched(found):
        function()
    return found


class Dispatched(TorchDispatchMode):
    """Dispatch mode that records each op with a launch."""

    def __init__(self, found: list[Launched]):
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.name().split("::")[1].split(".")[0]
        if composite(function):  # inference mode does not decompose them
            with self:
                return function._op_dk(COMPOSITE, *args, **(kwargs or {}))
        if name in ("copy_", "_to_copy"):
            return self.copy(function, name, args, kwargs or {})
        out = function(*args, **(kwargs or {}))
        out = as_cudnn_lays_out(name, args, out)
        views = any(part.alias_info and not part.alias_info.is_write for part in function._schema.returns)
        if not views and name not in FREE | ALLOCATIONS and any(t.is_meta for t in tensors((*args, out))):
            self.found.append(Launched(name, products(name, args, out), touched((*args, out))))
        return out

    def copy(self, function, name: str, args: tuple, kwargs: dict) -> Tensor:
        """Record a copy; copies to the host return ones, since meta tensors have no values."""
        source = args[1] if name == "copy_" else args[0]
        target = args[0].device if name == "copy_" else torch.device(kwargs.get("device") or source.device)
        if source.is_meta and target.type == "cpu":
            shape, dtype = source.shape, kwargs.get("dtype") or source.dtype
            out = args[0].fill_(1) if name == "copy_" else torch.ones(shape, dtype=dtype)
        else:
            out = function(*args, **kwargs)
        if source.is_meta or out.is_meta:
            self.found.append(Launched(name, 0, touched((source, out)), source.is_meta != out.is_meta))
        return out


class Attention(TorchFunctionMode):
    """Function mode that records each scaled dot product attention and returns a tensor of its shape."""

    def __init__(self, found: list[Launched]):
        super().__init__()
        self.found = found

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is not F.scaled_dot_product_attention:
            return function(*args, **(kwargs or {}))
        named = {**dict(zip(("query", "key", "value"), args, strict=False)), **(kwargs or {})}
        query, key, value = (named[name] for name in ("query", "key", "value"))
        # memory layout of the CUDA kernels: heads are adjacent, so that merging them is a view
        shape = query.shape[0], query.shape[2], query.shape[1], value.shape[3]
        with torch._C.DisableTorchFunctionSubclass(), _disable_current_modes():
            out = torch.empty(shape, dtype=query.dtype, device=query.device).transpose(1, 2)
        flops = 2 * query.shape[2] * key.shape[2] * (key[..., 0, :].numel() + value[..., 0, :].numel())
        self.found.append(Launched("attention", flops, touched((query, key, value, out))))
        return out


def composite(function) -> bool:
    """Whether an op only calls other ops, in torch's C++ rather than by a decomposition for compilers."""
    return torch._C._dispatch_has_kernel_for_dispatch_key(function.name(), "CompositeImplicitAutograd")


def as_cudnn_lays_out(name: str, args: tuple, out):
    """Give a convolution's meta result the layout of cuDNN; results of other ops are unchanged.

    cuDNN returns channels-last if the picture or the weights are channels-last; the meta kernel never does.
    """
    if name == "convolution" and out.is_meta and out.dim() == 4 and any(channels_last(t) for t in args[:2]):
        return torch.empty_like(out, memory_format=torch.channels_last)
    return out


def channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def tensors(values: tuple) -> list[Tensor]:
    """All tensors among the values, including those in lists."""
    found = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += tensors(tuple(value))
    return found


def touched(values: tuple) -> int:
    """Bytes of all tensors among the values; views of the same storage are counted separately."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors(values))


def products(name: str, args: Sequence[Any], out: Any) -> int:
    """FLOPs of the multiply-adds of matrix products and convolutions; 0 for other ops."""
    if name in ("convolution", "conv3x3"):
        return 2 * out.numel() * args[1].numel() // args[1].shape[0]
    if name == "linear_glu":
        return 2 * args[0].numel() * args[1].shape[0]
    if name in ("mm", "bmm", "addmm", "addmm_", "baddbmm"):
        left, right = args[-2:] if len(args) > 1 else (args[0], args[0])
        return 2 * left.numel() * right.shape[-1]
    if name == "linear":
        return 2 * args[0].numel() * args[1].shape[0]
    return 0


def total(launched: list[Launched]) -> tuple[int, int, int]:
    """Totals (launches, FLOPs, bytes)."""
    return len(launched), sum(one.flops for one in launched), sum(one.bytes for one in launched)


def least_ms(launched: list[Launched], flops_per_s: float, bytes_per_s: float) -> float:
    """Lower bound in milliseconds to run the ops in sequence on a GPU of these peaks.

    Copies from and to the host are not included.
    """
    return 1e3 * math.fsum(one.seconds(flops_per_s, bytes_per_s) for one in launched if not one.host)
