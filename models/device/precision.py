"""Precision that a network runs, trains and is evaluated in, chosen by the hardware's support for it."""

from __future__ import annotations

import torch

BF16_CAPABILITY = (8, 0)  # CUDA cards with bfloat16 in hardware; torch emulates it on older ones
FP16_CAPABILITY = (7, 0)  # has matrix units for float16; most older cards run it slower than float32


def fast_dtype(device: str = "cpu") -> torch.dtype:
    """Return the fastest dtype for making pictures on a device.

    bfloat16 where the hardware multiplies it, else float16 on a GPU with matrix units for it, else float32.
    The choice depends on the hardware and not on a measurement, so the same seed gives the same numbers.
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
    """Whether a model can run in bfloat16 on a device.

    Not on cards before sm_80; on a CPU without AVX-512 oneDNN refuses it.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.get_device_capability(device) >= BF16_CAPABILITY
    fused = torch.backends.mkldnn.is_available()
    return kind != "cpu" or not fused or torch.ops.mkldnn._is_mkldnn_bf16_supported()


def autocast(device: str = "cpu") -> torch.autocast:
    """torch.autocast to `fast_dtype(device)`; disabled where that is float32.

    Elsewhere bfloat16 is emulated, ten times slower.
    """
    dtype = fast_dtype(device)
    return torch.autocast(torch.device(device).type, dtype, enabled=dtype != torch.float32)
