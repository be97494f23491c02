"""Tests of device placement: the painter's CUDA serving code under StrictDevice."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from strict_device import DEVICE, StrictDevice

from models.api import Request
from models.painter import painter
from models.painter.network import PainterNetwork

DTYPES = ["float32", "float16", "bfloat16"]


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_frames_lie_on_one_device_and_can_be_captured(dtype, steps):
    """Whole frames and tiles: eagerly, during graph capture, and by graph replay."""
    whole = np.zeros((1024, 2048, 4), np.uint8)
    papers = [whole, whole.copy(), whole.copy()]
    for index, paper in enumerate(papers):
        paper[16 * index : 16 * index + 8, :8] = 255
    with StrictDevice(tf32=False) as strict:
        model = painter.Painter(
            PainterNetwork().eval().requires_grad_(False), "strict", "", str(DEVICE), dtype
        )
        model.use_graphs(capture=strict.capture)
        shares = []
        for paper in (*papers, papers[0]):
            frame = model.render(Request(paper, steps=steps, prompt="misty"))
            shares.append(model.tiled.share)
            while model.rest():
                pass
        assert frame.picture.shape == (1024, 2048, 3)
        assert frame.why_not_faster == f"{dtype} was asked for"  # made by a graph
        assert shares[0] == 1 and (steps > 2 or max(shares[1:]) < 0.6)
        assert strict.captures == (1 if steps > 2 else 2)  # tiles are captured only where they save work
        assert len(model.tiled.frames.graphs.keys) == strict.captures
        assert model.body.dtype == getattr(torch, dtype) and strict.ops > 40
