"""Sample grids: sketch, one step, four steps, twenty-five steps and the real view, side by side, as PNG."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from models.device.precision import autocast
from models.painter import flow
from models.painter.flow import Condition
from models.painter.network import PainterNetwork
from models.sampling.paths import Straight, uniform
from models.sampling.solvers import ddim

COLUMNS = (1, 4, 25)


@torch.no_grad()
def sample(network: PainterNetwork, condition: Condition, noise: Tensor, steps: int) -> Tensor:
    """Sample pictures (B, 3, H, W) in [-1, 1] with Euler's method from the start of the edit."""

    def model(x: Tensor, t: float, step: float) -> Tensor:
        count = len(x)
        with autocast(x.device.type):
            return flow.denoise(
                network, x, condition, torch.full((count,), t), torch.full((count,), step)
            ).float()

    return ddim(model, flow.start(condition, noise), uniform(Straight(), steps)).clamp(-1, 1)


def to_pixels(pictures: Tensor) -> np.ndarray:
    """Convert (B, 3, H, W) in [-1, 1] to (B, H, W, 3) uint8."""
    return pictures.add(1).mul(127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def save_grid(
    path: Path,
    network: PainterNetwork,
    picture: Tensor,
    condition: Condition,
    *,
    rows: int = 8,
    columns=COLUMNS,
) -> None:
    """Write `rows` samples as one PNG; every call uses the same noise, so grids can be compared."""
    rows = min(rows, len(picture))
    condition = condition.rows(slice(rows))
    noise = torch.randn(picture[:rows].shape, generator=torch.Generator().manual_seed(0))
    paper = condition.sketch + (1 - condition.alpha) * 0.9  # blank paper is shown as near white
    shown = [to_pixels(paper)]
    shown += [to_pixels(sample(network, condition, noise, steps)) for steps in columns]
    shown.append(to_pixels(picture[:rows]))
    grid = np.concatenate([np.concatenate(list(column), 0) for column in shown], 1)
    cv2.imencode(path.suffix, grid[..., ::-1])[1].tofile(path)
