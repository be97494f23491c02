"""Sampler trajectories: states, straightness, and the picture predicted at each step."""

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
    """A sampler trajectory from start to end, in the contender's own coordinates.

    times: (K + 1,). states: (K + 1, B, 3, H, W).
    """

    times: tuple[float, ...]
    states: Tensor


@torch.no_grad()
def trace(contender: Contender, condition: Condition, noise: Tensor, steps: int = TRACE_STEPS) -> Trace:
    """Solve the ODE from the given noise with `steps` even steps of the contender's own time."""
    grid, states = uniform(contender.path, steps), []
    model = contender.model(condition)

    def seen(x: Tensor, t: float, step: float) -> Tensor:
        states.append(x)
        return model(x, t, 0.0)

    end = ddim(seen, contender.start(condition, noise), grid, lambda: noise)
    return Trace(grid.times, torch.stack([*states, end]))


def straightness(traced: Trace) -> dict[str, float]:
    """Return measures of straightness: bend and arc.

    bend: integral of |velocity - chord|^2 over |chord|^2 (Liu et al. 2022). arc: length over chord.
    Both use the contender's own coordinates and time: a diffusion's path from noise to picture is an arc even
    if its prediction is constant, and the solver has to follow that arc.
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
    """Project the first sample's path on its principal axes: (K + 1, COMPONENTS), relative to the chord."""
    path = traced.states[:, 0].flatten(1)
    chord = (path[0] - path[-1]).norm()
    centred = path - path[-1]
    axes = torch.linalg.svd(centred, full_matrices=False).Vh[:COMPONENTS]
    return (centred @ axes.T / chord).numpy()


def pixels(traced: Trace, count: int = 5) -> np.ndarray:
    """Return red values of `count` pixels in the first sample's middle row at each step: (K + 1, count)."""
    side = traced.states.shape[-1]
    columns = [(2 * i + 1) * side // (2 * count) for i in range(count)]
    return traced.states[:, 0, 0, side // 2, columns].numpy()


@torch.no_grad()
def filmstrip(
    contender: Contender, sampler: str, steps: int, condition: Condition, noise: Tensor, shown: int = 8
) -> tuple[Tensor, list[int]]:
    """Return the network's predictions at up to `shown` steps: (K, 3, H, W), and the step numbers from 1.

    The first and the last step are always included; all steps are shown if there are fewer than `shown`.
    """
    pictures: list[Tensor] = []

    def keep(index: int, t: float, data: Tensor) -> bool:
        pictures.append(contender.picture(data, condition)[0].clamp(-1, 1))
        return False

    contender.sample(sampler, steps, condition, noise, callback=keep)
    chosen = np.linspace(0, len(pictures) - 1, min(shown, len(pictures))).round().astype(int)
    return torch.stack([pictures[index] for index in chosen]), [int(index) + 1 for index in chosen]
