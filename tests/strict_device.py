"""Check device placement of GPU code on a machine that has no GPU.

`StrictDevice` uses the meta device in place of the accelerator and checks every op that torch dispatches. It
rejects what CUDA rejects: tensors on two devices in one op and, during the capture of a CUDA graph, copies
from or to the host, synchronisation, data-dependent shapes, random numbers of the CPU, and memory that
outlives the capture without an owner. Results have shapes but no values; copies to the host are ones.

Never run the checked code under `torch.device("meta")`: tensors created without a device would then be on the
accelerator by default.
"""

from __future__ import annotations

import gc
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kernels.tools.launch_counter import COMPOSITE, as_cudnn_lays_out, composite

DEVICE = torch.device("meta")
FROM_HOST = (torch.tensor, torch.as_tensor, Tensor.new_tensor)
SYNCHRONISES = {"_local_scalar_dense", "is_nonzero", "equal", "bincount"}
BY_DATA = {"nonzero", "masked_select", "unique_dim", "_unique2", "unique_consecutive", "repeat_interleave"}
INDEXES = {"index", "index_put", "index_put_", "_index_put_impl_"}
WAITS = ("synchronize", "empty_cache")  # functions of torch.cuda
ROOT = Path(__file__).resolve().parents[1]


class DeviceFault(RuntimeError):
    """Raised for an op that CUDA would reject or that would break a graph capture."""


class StrictDevice(TorchDispatchMode):
    """Context that raises DeviceFault at a fault, and again on exit if that exception was caught.

    tf32: whether float32 convolutions may be computed in TF32, as cuDNN does by default.
    """

    def __init__(self, *, tf32: bool = True):
        super().__init__()
        self.tf32, self.faults = tf32, []
        self.ops = 0  # ops that the accelerator would run
        self.captures = 0
        self._made: list[tuple[StorageWeakRef, str]] | None = None  # a list while a region is captured
        self._stack = ExitStack()
        self._depth = 0  # re-entered to decompose composite ops

    def __enter__(self):
        self._depth += 1
        if self._depth > 1:
            return super().__enter__()
        self._stack.enter_context(HostValues(self))
        for name in WAITS:
            self._stack.enter_context(mock.patch.object(torch.cuda, name, lambda *_, n=name: self._wait(n)))
        return super().__enter__()

    def __exit__(self, kind, error, trace):
        super().__exit__(kind, error, trace)
        self._depth -= 1
        if self._depth:
            return
        self._stack.close()
        if error is None and self.faults:
            raise DeviceFault("\n".join(self.faults))

    @property
    def capturing(self) -> bool:
        return self._made is not None

    def capture(self, function: Callable[..., Tensor], inputs: dict[str, Tensor]) -> tuple[Callable, Tensor]:
        """Replacement for models.device.cuda_graphs.capture_cuda."""
        self.captures += 1
        with torch.inference_mode():
            function(**inputs)  # warm-up: builds cached tables
            with self.captured(inputs.values()) as owned:
                output = function(**inputs)
                owned.append(output)
        return lambda: None, output

    @contextmanager
    def captured(self, inputs=()) -> Iterator[list[Tensor]]:
        """Context of a captured region. Inputs and tensors appended to the yielded list may outlive it."""
        self._made, owned = [], []
        try:
            yield owned
            made, kept = self._made, {StorageWeakRef(t.untyped_storage()).cdata for t in (*inputs, *owned)}
            gc.collect()
            for storage, origin in made:
                if not storage.expired() and storage.cdata not in kept:
                    self.refuse("memory of a captured region outlives it", origin)
        finally:
            self._made = None

    def refuse(self, what: str, origin: str) -> None:
        self.faults.append(f"{what}: {origin}")
        raise DeviceFault(self.faults[-1])

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if composite(function):  # inference mode does not decompose them
            with self:
                return function._op_dk(COMPOSITE, *args, **kwargs)
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        here = any(t.device == DEVICE for t in given)
        name = function.name().split("::")[1].split(".")[0]
        self._check_devices(function, name, given, here)
        if here and name in SYNCHRONISES | BY_DATA | INDEXES:
            answer = self._data_dependent(function, name, args, given)
            if answer is not None:
                return answer
        if name in ("copy_", "_to_copy"):
            answer = self._copy(function, name, args, kwargs)
        else:
            answer = as_cudnn_lays_out(name, args, function(*args, **kwargs))
        self._note(function, given, answer, here)
        return answer

    def _check_devices(self, function, name: str, given: list[Tensor], here: bool) -> None:
        apart = [t for t in given if t.device != DEVICE] if here else []
        if name in INDEXES and not self.capturing:  # CUDA copies a CPU index to the device
            apart = [t for t in apart if t.dtype not in (torch.int64, torch.int32)]
        number = torch.Tag.pointwise in function.tags or name in ("fill_", "fill")
        if number and all(t.dim() == 0 for t in apart):  # CPU scalars are passed by value
            apart = []
        if apart and name not in ("copy_", "_to_copy"):
            self.refuse("tensors of two devices", described(name, given))
        full = here and not self.tf32 and name == "convolution" and given[0].dtype == torch.float32
        if full and torch.backends.cudnn.allow_tf32:
            self.refuse("a float32 convolution in TF32", described(name, given))

    def _data_dependent(self, function, name: str, args: tuple, given: list[Tensor]) -> object | None:
        """Reject data-dependent ops in a captured region; outside, answer the few that are possible."""
        masks = [
            t
            for t in tree_leaves(args[1:2])
            if isinstance(t, Tensor) and t.dtype in (torch.bool, torch.uint8)
        ]
        if name in INDEXES and not masks:
            return None
        if name == "repeat_interleave" and isinstance(args[-1], int):
            return None
        if self.capturing:
            what = "a wait for the device" if name in SYNCHRONISES else "a shape that depends on data"
            self.refuse(f"{what} inside a captured region", described(name, given))
        if name == "_local_scalar_dense":
            return torch.ones((), dtype=given[0].dtype).item()
        raise NotImplementedError(f"{name} depends on values, and the device that is checked has none")

    def _copy(self, function, name: str, args: tuple, kwargs: dict) -> Tensor:
        target = args[0] if name == "copy_" else None
        wanted = kwargs.get("device") or args[0].device
        wanted = target.device if target is not None else torch.device(wanted)
        source = args[1] if name == "copy_" else args[0]
        if {wanted.type, source.device.type} == {"cpu", DEVICE.type}:
            if self.capturing:
                self.refuse(
                    "a copy between host and device inside a captured region", described(name, [source])
                )
            if wanted.type == "cpu":
                if target is not None:
                    return target.fill_(1)
                return torch.ones(source.shape, dtype=kwargs.get("dtype") or source.dtype)
        return function(*args, **kwargs)

    def _note(self, function, given: list[Tensor], answer: object, here: bool) -> None:
        answers = [t for t in tree_leaves(answer) if isinstance(t, Tensor)]
        made = [t for t in answers if t.device == DEVICE]
        random = self.capturing and torch.Tag.nondeterministic_seeded in function.tags
        if random and any(t.device != DEVICE for t in answers):
            self.refuse(
                "random numbers of the CPU are frozen into a graph", described(function.name(), given)
            )
        self.ops += bool(here or made)
        if self._made is not None:
            before = {t.untyped_storage()._cdata for t in given}
            fresh = [t for t in made if t.untyped_storage()._cdata not in before]
            origin = described(function.name(), fresh) if fresh else ""
            self._made += [(StorageWeakRef(t.untyped_storage()), origin) for t in fresh]

    def _wait(self, name: str) -> None:
        if self.capturing:
            self.refuse(f"torch.cuda.{name} inside a captured region", described(name, []))


class HostValues(TorchFunctionMode):
    """Detects tensors made on the device from host values, for which torch dispatches no copy."""

    def __init__(self, strict: StrictDevice):
        super().__init__()
        self.strict = strict

    def __torch_function__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        if function in FROM_HOST and made.device == DEVICE and self.strict.capturing:
            given = [t for t in args if isinstance(t, Tensor) and t.device == DEVICE]
            if function is not torch.as_tensor or not given:
                self.strict.refuse(
                    "values of the host inside a captured region", described(function.__name__, [made])
                )
        return made


def described(name: str, given: list[Tensor]) -> str:
    """Format an op, its tensors, and the innermost stack frames in the project and diffusers."""
    shapes = ", ".join(
        f"{t.device.type} {tuple(t.shape)} {str(t.dtype).removeprefix('torch.')}" for t in given
    )
    frames = [f for f in traceback.extract_stack() if "strict_device" not in f.filename]
    ours = [f for f in frames if f.filename.startswith(str(ROOT)) or "diffusers" in f.filename]
    return f"{name}({shapes}) at " + " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in ours[:-4:-1])


def on_device(module: torch.nn.Module) -> torch.nn.Module:
    """Move a module's parameters and buffers to the meta device, in place."""
    for part in module.modules():
        for name, value in part._parameters.items():
            if value is not None:
                part._parameters[name] = torch.nn.Parameter(empty_as(value), requires_grad=False)
        for name, value in part._buffers.items():
            if value is not None:
                part._buffers[name] = empty_as(value)
    return module


def empty_as(value: Tensor) -> Tensor:
    """Empty tensor on the meta device with the shape, strides and dtype of `value`."""
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=DEVICE)
