"""Floating-point operations of a pretrained model's frame, counted by torch while one runs."""

from __future__ import annotations

import numpy as np
from torch.utils.flop_counter import FlopCounterMode

from models.api import Request


def count(model, height_px: int, width_px: int) -> tuple[float, float]:
    """(of encoding and decoding, of one step) in 1e9. model: a models.pretrained.serving.Pretrained."""
    paper = np.full((height_px, width_px, 4), 255, np.uint8)
    spent = []
    for steps in (1, 2):
        request = Request(paper, steps=steps, strength=1.0)
        model.render(request)  # what is made once a prompt is not the frame's
        with FlopCounterMode(display=False) as counter:
            model.render(request)
        spent.append(counter.get_total_flops() / 1e9)
    step = spent[1] - spent[0]
    return spent[0] - step, step
