"""Couplings for reflow: start noise z and the pictures a flow maps it to with Heun's method, in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from models.device.precision import autocast
from models.painter import flow
from models.painter.flow import Condition
from models.painter.network import PainterNetwork
from models.sampling.paths import Straight, uniform
from models.sampling.solvers import path_heun
from models.training.data.tensors import to_tensors


@dataclass
class Couplings:
    """Pairs z and picture, (N, 3, H, W) float16, of one flow; all fields share one index."""

    z: Tensor
    picture: Tensor
    condition: Condition

    @classmethod
    @torch.no_grad()
    def make(
        cls, network: PainterNetwork, batch: Callable[[], tuple[np.ndarray, ...]], *, batches: int, steps: int
    ) -> Couplings:
        """Integrate the flow from random starts of `batches` batches in `steps` steps of Heun's method."""
        parts: list[tuple[Tensor, ...]] = []
        for _ in track(range(batches), "couplings", console=Console(stderr=True)):
            real, condition = to_tensors(batch())
            z = flow.start(condition, torch.randn_like(real))
            picture = path_heun(tangent(network, condition), z, uniform(Straight(), steps)).clamp(-1, 1)
            parts.append((z.half(), picture.half(), *condition))
        z, picture, *condition = (torch.cat(part) for part in zip(*parts, strict=True))
        return cls(z, picture, Condition(*condition))

    def draw(self, count: int) -> tuple[Tensor, Tensor, Condition]:
        """Draw (z, picture, condition) of `count` random couplings, half of them mirrored."""
        rows = torch.randint(len(self.z), (count,))
        z, picture, condition = self.z[rows].float(), self.picture[rows].float(), self.condition.rows(rows)
        if torch.rand(()) < 0.5:
            z, picture = z.flip(3), picture.flip(3)
            condition = condition._replace(sketch=condition.sketch.flip(3), alpha=condition.alpha.flip(3))
        return z, picture, condition


def tangent(network: PainterNetwork, condition: Condition):
    """Adapt the network to a sampler: predicts the tangent, whatever the step size."""

    def model(x: Tensor, t: float, step: float) -> Tensor:
        times = torch.full((len(x),), t)
        with autocast():
            return flow.denoise(network, x, condition, times, torch.zeros_like(times)).float()

    return model
