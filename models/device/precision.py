"""Which precision a network runs, is trained and judged in: bf16 where the processor has it, else float32."""

from __future__ import annotations

import torch


def fast_dtype() -> torch.dtype:
    """bf16 where the processor multiplies it in hardware; by what it is, not by a measurement, so that the
    same seed gives the same numbers."""
    hardware = (
        getattr(torch.cpu, name, bool) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    )
    return torch.bfloat16 if any(found() for found in hardware) else torch.float32


def has_bf16(device: str) -> bool:
    """Whether the painter can run in bfloat16: oneDNN refuses it on a CPU without AVX-512."""
    fused = torch.backends.mkldnn.is_available()
    return device != "cpu" or not fused or torch.ops.mkldnn._is_mkldnn_bf16_supported()


def autocast(device: str = "cpu") -> torch.autocast:
    """torch.autocast to `fast_dtype()`: elsewhere bf16 is emulated, ten times slower."""
    dtype = fast_dtype() if device == "cpu" else torch.bfloat16
    return torch.autocast(device, dtype, enabled=dtype == torch.bfloat16)
