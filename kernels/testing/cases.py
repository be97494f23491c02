"""Table of the ops: input generators, shapes used by real models, and error bounds.

The tests, the benchmark and the ahead-of-time compiler read the same table, so the measured op is always the
tested one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import ModuleType

import torch
from torch import Tensor

from kernels import reference
from kernels.ops import (
    conv,
    glu,
    groupnorm,
    layernorm,
    linear_glu,
    modulate,
    noise,
    norm_modulate,
    paper,
    picture,
    rotary,
)
from kernels.testing import inputs, truth
from kernels.testing.ragged_shapes import RAGGED

BOUNDS = {torch.float32: 1e-6, torch.float16: 2e-3, torch.bfloat16: 1e-2}
TIES = 1e-4  # share of bytes that may be off by one: their true value is a half, within float32 rounding
FULL, HALF, BRAIN = torch.float32, torch.float16, torch.bfloat16


@dataclass(frozen=True)
class Case:
    """Table row of an op.

    inputs: (make, shape, dtype, **options) -> the arguments of its plan, op and reference.
    entry: adapter of the dispatching function, if it takes the arguments in another order.
    served: (shape, dtype, options) as real models and the painter call it; shape is that of `module.cost`.
    bandwidth: whether the op is memory-bound on some GPU, so that its loads must be as wide as rows allow.
    """

    name: str
    module: ModuleType
    reference: Callable
    inputs: Callable[..., tuple]
    served: tuple[tuple[tuple[int, ...], torch.dtype, dict], ...] = field(repr=False)
    bandwidth: bool = True
    row_values: Callable[[tuple], int] = lambda shape: 1 << 10  # contiguous values in the input
    counted: tuple[str, ...] = ()  # the options that change the cost
    entry: Callable | None = None

    @property
    def ragged(self) -> list[tuple[tuple[int, ...], dict]]:
        return RAGGED[self.name]

    def dispatch(self, *arguments) -> object:
        """Call the op's dispatching function, as models do, with the arguments of its plan."""
        if self.entry is not None:
            return self.entry(*arguments)
        function = getattr(self.module, self.op_name)
        names = inspect.signature(function).parameters
        return function(**dict(zip(names, arguments, strict=True)))

    @property
    def op_name(self) -> str:
        return self.module.OP._schema.name.split("::")[1]

    def truth(self, arguments: tuple) -> tuple[Tensor, ...]:
        """Results in float64 on the CPU, from `kernels.testing.truth`."""
        return tuple(torch.from_numpy(part) for part in getattr(truth, self.name)(*arguments))

    def cost(self, shape: tuple[int, ...], dtype: torch.dtype, options: dict) -> tuple[int, int]:
        """(FLOPs, bytes) of one call."""
        return self.module.cost(shape, dtype, **{k: v for k, v in options.items() if k in self.counted})


def serve(shapes: Iterable[tuple], *dtypes: torch.dtype, **options) -> tuple:
    return tuple((shape, dtype, options) for shape in shapes for dtype in dtypes)


CASES = {
    case.name: case
    for case in (
        Case(
            "normal",
            noise,
            reference.normal_,
            inputs.noise_inputs,
            serve([(3, 512, 512)], FULL) + serve([(4, 64, 64)], HALF),
            bandwidth=False,  # about 200 operations per value
        ),
        Case(
            "paper_in",
            paper,
            inputs.paper_reference,
            inputs.paper_inputs,
            serve([(512, 512)], FULL, HALF) + serve([(512, 512)], FULL, given=True),
            entry=inputs.paper_entry,
        ),
        Case(
            "picture_out",
            picture,
            reference.picture_out,
            inputs.picture_inputs,
            serve([(512, 512)], FULL, HALF),
        ),
        Case(
            "group_norm_silu",
            groupnorm,
            reference.group_norm_silu,
            inputs.groupnorm_inputs,
            serve([(1, 320, 64, 64), (1, 640, 32, 32), (1, 1280, 16, 16), (1, 1280, 8, 8)], HALF)
            + serve([(1, 960, 64, 64), (1, 1920, 32, 32), (1, 2560, 16, 16), (1, 2560, 8, 8)], HALF)
            + serve([(1, 320, 64, 64)], BRAIN, silu=False)
            + serve([(1, 128, 512, 512)], BRAIN),
        ),
        Case(
            "glu",
            glu,
            reference.glu,
            inputs.glu_inputs,
            serve([(4096, 2560)], HALF) + serve([(1088, 18432)], BRAIN, activation="silu", gate_first=True),
        ),
        Case(
            "linear_glu",
            linear_glu,
            reference.linear_glu,
            inputs.linear_glu_inputs,
            serve([(4096, 320, 1280), (1024, 640, 2560), (256, 1280, 5120)], HALF)
            + serve([(1088, 3072, 9216)], BRAIN, activation="silu", gate_first=True, biased=False),
            bandwidth=False,
        ),
        Case(
            "conv3x3",
            conv,
            reference.conv3x3,
            inputs.conv_inputs,
            serve([(1, 64, 512, 512, 64), (1, 64, 64, 64, 64)], HALF)
            + serve([(1, 3, 512, 512, 64), (1, 4, 64, 64, 64)], HALF, skipped=False)
            + serve([(1, 64, 512, 512, 3), (1, 64, 64, 64, 4)], HALF, skipped=False, activation="none")
            + serve([(1, 64, 512, 512, 64)], HALF, skipped=False, activation="none", stride=2)
            + serve([(1, 128, 512, 512, 128)], BRAIN, skipped=False, activation="silu")
            + serve([(1, 48, 128, 128, 48)], FULL)
            + serve([(1, 48, 128, 128, 48), (1, 96, 64, 64, 96), (1, 160, 32, 32, 160)], HALF),
            counted=("skipped", "stride"),
            row_values=lambda shape: shape[1],  # a pixel's channels: three or four are less than 128 bits
        ),
        Case(
            "gate_norm_modulate",
            modulate,
            reference.gate_norm_modulate,
            inputs.modulate_inputs,
            serve([(1, 1178, 1536), (1, 1088, 3072)], BRAIN)
            + serve([(1, 1088, 3840)], BRAIN, norm="rms", shifted=False, wide=True),
        ),
        Case(
            "norm_modulate",
            norm_modulate,
            reference.norm_modulate,
            inputs.norm_modulate_inputs,
            serve([(1, 1088, 3072)], BRAIN)
            + serve([(1, 1088, 3840)], BRAIN, norm="rms", shifted=False, wide=True)
            + serve([(1, 512 * 512, 128)], BRAIN, norm="rms", wide=True),
        ),
        Case(
            "norm_rotary",
            rotary,
            reference.norm_rotary,
            inputs.rotary_inputs,
            serve([(1, 1088, 24, 128)], BRAIN)
            + serve([(1, 1088, 24, 64)], HALF, interleaved=False)
            + serve([(1, 1178, 24, 64)], BRAIN, turned=False),
        ),
        Case(
            "add_layer_norm",
            layernorm,
            reference.add_layer_norm,
            inputs.layernorm_inputs,
            serve([(4096, 320), (1024, 640), (256, 1280)], HALF),
        ),
    )
}


def call(function: Callable, arguments: tuple) -> tuple[Tensor, ...]:
    """Call an op; returns its results as a tuple, or the first argument if it works in place."""
    out = function(*arguments)
    return (arguments[0],) if out is None else out if isinstance(out, tuple) else (out,)


def copied(arguments: tuple, *, double: bool = False) -> tuple:
    """Clone tensor arguments with their strides; double: floats and float dtypes become float64."""

    def copy(value):
        if isinstance(value, torch.dtype):
            return torch.float64 if double else value
        if not isinstance(value, Tensor):
            return value
        twin = value.clone(memory_format=torch.preserve_format)
        return twin.double() if double and value.is_floating_point() else twin

    return tuple(copy(value) for value in arguments)


def error(out: tuple[Tensor, ...], truth: tuple[Tensor, ...]) -> float:
    """Largest ratio of the RMS of error and truth; for bytes, 0 if all but TIES of them are right."""
    worst = 0.0
    for value, right in zip(out, truth, strict=True):
        right = right.to(value.device)
        if value.shape != right.shape:
            return float("inf")
        if value.dtype == torch.uint8:
            off = (value.int() - right.int()).abs()
            ratio = 0.0 if off.max() <= 1 and off.float().mean() <= TIES else float("inf")
        else:
            ratio = float((value.double() - right).norm() / right.norm().clamp_min(1e-300))
        worst = max(worst, ratio if ratio == ratio else float("inf"))
    return worst
