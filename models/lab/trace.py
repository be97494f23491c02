"""Paths of a sampler: the states, their straightness, and the picture predicted at each step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.painter.contenders import Contender
from models.painter.flow import Condition
from models.sampling.paths import uniform
from models.sampling.solvers import ddim

TRACE_STEPS = 64
COMPONENTS = 3


@dataclass(frozen=True)
class Trace:
    """times: (K + 1,). states: (K + 1, B, 3, H, W) on the contender's own path, from start to end."""

    times: tuple[float, ...]
    states: Tensor


@torch.no_grad()
def trace(contender: Contender, condition: Condition, noise: Tensor, steps: int = TRACE_STEPS) -> Trace:
    """Follow the ODE from these starts, `steps` even steps of the contender's own time."""
    grid, states = uniform(contender.path, steps), []
    model = contender.model(condition)

    def seen(x: Tensor, t: float, step: float) -> Tensor:
        states.append(x)
        return model(x, t, 0.0)

    end = ddim(seen, contender.start(condition, noise), grid, lambda: noise)
    return Trace(grid.times, torch.stack([*states, end]))


def straightness(traced: Trace) -> dict[str, float]:
    """bend: integral of |velocity - chord|^2 over |chord|^2 (Liu et al. 2022). arc: length over chord.

    Both in the contender's own coordinates and time: a diffusion's x = noise bends to its picture on an arc
    even where the prediction stands still, which is what its solver has to follow.
    """
    times = torch.tensor(traced.times)
    parts = traced.states.flatten(2)
    chord = parts[0] - parts[-1]
    spans = (times[:-1] - times[1:]) / (times[0] - times[-1])
    pieces = parts[:-1] - parts[1:]
    size = chord.square().sum(1)
    off = (pieces / spans[:, None, None] - chord).square().sum(2)
    bend = (off * spans[:, None]).sum(0) / size
    arc = pieces.square().sum(2).sqrt().sum(0) / size.sqrt()
    return {"bend": bend.mean().item(), "arc": arc.mean().item()}


def components(traced: Trace) -> np.ndarray:
    """(K + 1, COMPONENTS) of the first sample's path along its principal axes, over the chord's length."""
    path = traced.states[:, 0].flatten(1)
    chord = (path[0] - path[-1]).norm()
    centred = path - path[-1]
    axes = torch.linalg.svd(centred, full_matrices=False).Vh[:COMPONENTS]
    return (centred @ axes.T / chord).numpy()


def pixels(traced: Trace, count: int = 5) -> np.ndarray:
    """(K + 1, count): red of some pixels of the first sample, along the middle row, on the way."""
    side = traced.states.shape[-1]
    columns = [(2 * i + 1) * side // (2 * count) for i in range(count)]
    return traced.states[:, 0, 0, side // 2, columns].numpy()


@torch.no_grad()
def filmstrip(
    contender: Contender, sampler: str, steps: int, condition: Condition, noise: Tensor, shown: int = 8
) -> tuple[Tensor, list[int]]:
    """What the network predicts at `shown` of the steps, or at all where they are fewer: (K, 3, H, W), and
    the number of each step from 1 on; the first and the last are among them."""
    pictures: list[Tensor] = []

    def keep(index: int, t: float, data: Tensor) -> bool:
        pictures.append(contender.picture(data, condition)[0].clamp(-1, 1))
        return False

    contender.sample(sampler, steps, condition, noise, callback=keep)
    chosen = np.linspace(0, len(pictures) - 1, min(shown, len(pictures))).round().astype(int)
    return torch.stack([pictures[index] for index in chosen]), [int(index) + 1 for index in chosen]
