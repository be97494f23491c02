"""Samplers as functions (model, x, times, callback) -> x, and the schedule of their times.

`model(x, t, step)` returns the predicted picture at time t; `times` falls from 1 to 0. A sampler calls
`callback(index, t, picture)` after each prediction, and stops early where that returns True.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

Model = Callable[[Tensor, float, float], Tensor]
Callback = Callable[[int, float, Tensor], bool | None]


def uniform_times(steps: int) -> list[float]:
    """steps + 1 times from 1 to 0, evenly spaced. Raises ValueError for fewer than one step."""
    if steps < 1:
        raise ValueError(f"a sampler needs at least one step, not {steps}")
    return [1 - index / steps for index in range(steps)] + [0.0]


def euler(model: Model, x: Tensor, times: Sequence[float], callback: Callback | None = None) -> Tensor:
    """Euler's method, order 1, one evaluation a step. The last step lands on the predicted picture itself."""
    for index, (t, t_next) in enumerate(pairwise(times)):
        picture = model(x, t, t - t_next)
        x = picture if t_next == 0 else torch.lerp(picture, x, t_next / t)
        if callback and callback(index, t, picture):
            break
    return x


def heun(model: Model, x: Tensor, times: Sequence[float], callback: Callback | None = None) -> Tensor:
    """Heun's method, order 2: two evaluations a step, one in the last (Karras et al. 2022, algorithm 1)."""
    for index, (t, t_next) in enumerate(pairwise(times)):
        picture = model(x, t, 0.0)
        if t_next == 0:
            x = picture
        else:
            slope = (x - picture) / t
            ahead = x + (t_next - t) * slope
            slope_ahead = (ahead - model(ahead, t_next, 0.0)) / t_next
            x = x + (t_next - t) * (slope + slope_ahead) / 2
        if callback and callback(index, t, picture):
            break
    return x


SAMPLERS: dict[str, Callable[..., Tensor]] = {"flow-euler": euler, "flow-heun": heun}
