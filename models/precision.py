"""The precision that a network is trained and judged in: bf16 where the processor has it, else float32."""

from __future__ import annotations

import torch


def fast_dtype() -> torch.dtype:
    """bf16 where the processor multiplies it in hardware; by what it is, not by a measurement, so that the
    same seed gives the same numbers."""
    hardware = (
        getattr(torch.cpu, name, bool) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    )
    return torch.bfloat16 if any(found() for found in hardware) else torch.float32


def autocast(device: str = "cpu") -> torch.autocast:
    """torch.autocast to `fast_dtype()`: elsewhere bf16 is emulated, ten times slower."""
    dtype = fast_dtype() if device == "cpu" else torch.bfloat16
    return torch.autocast(device, dtype, enabled=dtype == torch.bfloat16)
