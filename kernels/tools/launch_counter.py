"""Count what a forward pass would launch on a GPU, and its work, on a machine that has none.

The pass runs on meta tensors: shapes flow, nothing is computed. Every dispatched op that is no view and no
mere allocation counts once; attention counts once, however torch takes it apart where no GPU is. What touches
no meta tensor is the host's own arithmetic and does not count.
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
    """One op: its products in FLOPs (a multiply-add is two; sums and activations are not counted) and its
    tensors, read and written once, in bytes. host: a copy between host and device, which no kernel makes."""

    name: str
    flops: int
    bytes: int
    host: bool = False

    def seconds(self, flops_per_s: float, bytes_per_s: float) -> float:
        """The least time it can take: products at the peak, or all its bytes once through memory."""
        return max(self.flops / flops_per_s, self.bytes / bytes_per_s)


def record(function: Callable[[], object]) -> list[Launched]:
    """The ops that calling `function` dispatches, in order. Its tensors must be meta tensors."""
    found: list[Launched] = []
    with torch.no_grad(), Attention(found), Dispatched(found):
        function()
    return found


class Dispatched(TorchDispatchMode):
    """Appends each op that launches something."""

    def __init__(self, found: list[Launched]):
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.name().split("::")[1].split(".")[0]
        if composite(function):  # in inference mode they come whole
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
        """A copy; what comes to the host, which has no values, is ones."""
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
    """Appends each scaled dot product attention, and answers with a tensor of its shape."""

    def __init__(self, found: list[Launched]):
        super().__init__()
        self.found = found

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is not F.scaled_dot_product_attention:
            return function(*args, **(kwargs or {}))
        named = {**dict(zip(("query", "key", "value"), args, strict=False)), **(kwargs or {})}
        query, key, value = (named[name] for name in ("query", "key", "value"))
        # laid out as the kernels of CUDA leave it: heads side by side, so that merging them is a view
        shape = query.shape[0], query.shape[2], query.shape[1], value.shape[3]
        with torch._C.DisableTorchFunctionSubclass(), _disable_current_modes():
            out = torch.empty(shape, dtype=query.dtype, device=query.device).transpose(1, 2)
        flops = 2 * query.shape[2] * key.shape[2] * (key[..., 0, :].numel() + value[..., 0, :].numel())
        self.found.append(Launched("attention", flops, touched((query, key, value, out))))
        return out


def composite(function) -> bool:
    """Whether an op only calls others, in torch's own C++ and not by a decomposition for compilers."""
    return torch._C._dispatch_has_kernel_for_dispatch_key(function.name(), "CompositeImplicitAutograd")


def as_cudnn_lays_out(name: str, args: tuple, out):
    """The answer of a convolution on meta tensors as cuDNN gives it: channels-last where picture or weights
    are, which the meta kernel never is. Every other op's answer as it is."""
    if name == "convolution" and out.is_meta and out.dim() == 4 and any(channels_last(t) for t in args[:2]):
        return torch.empty_like(out, memory_format=torch.channels_last)
    return out


def channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def tensors(values: tuple) -> list[Tensor]:
    """All tensors among the values and in lists among them."""
    found = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += tensors(tuple(value))
    return found


def touched(values: tuple) -> int:
    """Bytes of all tensors among the values, views of one storage as often as they are named."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors(values))


def products(name: str, args: Sequence[Any], out: Any) -> int:
    """FLOPs of the multiply-adds of products and convolutions; 0 for everything else."""
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
    """(launches, FLOPs, bytes)."""
    return len(launched), sum(one.flops for one in launched), sum(one.bytes for one in launched)


def least_ms(launched: list[Launched], flops_per_s: float, bytes_per_s: float) -> float:
    """Milliseconds under which no GPU of these peaks can run them one after another, but for copies from and
    to the host."""
    return 1e3 * math.fsum(one.seconds(flops_per_s, bytes_per_s) for one in launched if not one.host)
