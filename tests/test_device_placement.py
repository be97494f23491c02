"""The painter's CUDA frame under the strict device mode."""

from __future__ import annotations

import pytest
import torch
from strict_device import DEVICE, StrictDevice, on_device

from models.painter.network import PainterNetwork
from models.painter.packed import Body

DTYPES = [torch.float32, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_frame_lies_on_one_device_and_can_be_captured(dtype, steps):
    network = on_device(PainterNetwork().eval())
    with torch.inference_mode(), StrictDevice(tf32=False) as strict:
        body = Body(network, dtype)
        inputs = {
            "planes": torch.empty((4, 256, 320), dtype=torch.uint8, device=DEVICE),
            "noise": torch.empty((1, 48, 64, 80), device=DEVICE),
            "share": torch.empty(1, device=DEVICE),
            "biases": torch.empty((steps, sum(body.widths)), dtype=dtype, device=DEVICE),
        }
        _, made = strict.capture(body.frame, inputs)
    assert made.shape == (3 * 256 * 320 + 1,) and made.device == DEVICE and strict.ops > 40
