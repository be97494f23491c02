"""Conversion of numpy batches to network input tensors."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from models.painter import flow
from models.painter.flow import Condition


def to_tensors(batch: tuple[np.ndarray, ...]) -> tuple[Tensor, Condition]:
    """(picture (B,H,W,3) u8, sketch (B,H,W,4) u8, mood, strength) -> picture in [-1, 1] and its Condition."""
    picture, sketch, mood, strength = (torch.from_numpy(np.ascontiguousarray(part)) for part in batch)
    # contiguous planes: noise in the layout of a permuted picture takes five times as long to draw
    picture = picture.permute(0, 3, 1, 2).contiguous().float().div_(127.5).sub_(1)
    sketch = sketch.permute(0, 3, 1, 2).contiguous().float()
    alpha = sketch[:, 3:] / 255
    color = (sketch[:, :3] / 127.5 - 1) * alpha
    paint = flow.soften(torch.cat((color, alpha), 1))
    return picture, Condition(paint[:, :3], paint[:, 3:], strength.float(), mood.float())
