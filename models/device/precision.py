"""Which precision a network runs, is trained and judged in, by what the processor or the GPU has."""

from __future__ import annotations

import torch

BF16_CAPABILITY = (8, 0)  # of CUDA cards that multiply bfloat16 in hardware; torch emulates it on older ones
FP16_CAPABILITY = (7, 0)  # with matrix units for float16; most cards before run it slower than float32


def fast_dtype(device: str = "cpu") -> torch.dtype:
    """The fastest dtype that pictures are made in: bfloat16 where it is multiplied in hardware, else float16
    on a GPU that has matrix units for it, else float32.

    By what the hardware is, not by a measurement, so that the same seed gives the same numbers.
    """
    if torch.device(device).type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if capability >= BF16_CAPABILITY:
            return torch.bfloat16
        return torch.float16 if capability >= FP16_CAPABILITY else torch.float32
    if torch.device(device).type != "cpu":
        return torch.bfloat16
    hardware = (
        getattr(torch.cpu, name, bool) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    )
    return torch.bfloat16 if any(found() for found in hardware) else torch.float32


def has_bf16(device: str) -> bool:
    """Whether a model can run in bfloat16 on a device: not on cards before sm_80, and oneDNN refuses it on a
    CPU without AVX-512."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.get_device_capability(device) >= BF16_CAPABILITY
    fused = torch.backends.mkldnn.is_available()
    return kind != "cpu" or not fused or torch.ops.mkldnn._is_mkldnn_bf16_supported()


def autocast(device: str = "cpu") -> torch.autocast:
    """torch.autocast to `fast_dtype(device)`, which is off in float32: elsewhere bf16 is emulated, ten times
    slower."""
    dtype = fast_dtype(device)
    return torch.autocast(torch.device(device).type, dtype, enabled=dtype != torch.float32)
