"""Convergence of samplers: error against a converged solution of the ODE, and the fitted order."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from models.painter import flow
from models.painter.contenders import Contender
from models.painter.flow import Condition
from models.sampling.samplers import SAMPLERS

ABOVE_FLOOR = 4.0  # errors below this multiple of the converged solution's own error are left out of the fit
NEAR = 0.04  # RMS distance, on pictures in [-1, 1], at which `steps_to` is evaluated
FIT_POINTS = 3  # number of finest rows used: with few steps the leading error term does not dominate


@dataclass(frozen=True)
class Converged:
    """A converged solution of the ODE.

    picture: (B, 3, H, W). floor: RMS distance to the solution with half the steps, on pictures in [-1, 1].
    """

    picture: Tensor
    floor: float


def rms(a: Tensor, b: Tensor) -> float:
    return (a - b).square().mean().sqrt().item()


def converge(contender: Contender, condition: Condition, noise: Tensor, steps: int) -> Converged:
    """Solve the ODE from the given noise with Heun's method, in the flow's own time or else in sigma."""
    sampler = "flow-heun" if contender.kind == "flow" else "heun"
    picture = contender.sample(sampler, steps, condition, noise)
    return Converged(picture, rms(picture, contender.sample(sampler, steps // 2, condition, noise)))


def errors(
    contender: Contender,
    sampler: str,
    counts: list[int],
    condition: Condition,
    noise: Tensor,
    converged: Converged,
    *,
    seed: int = 0,
) -> list[dict]:
    """Return one row per step count: steps, network evaluations and RMS error."""
    rows = []
    for steps in counts:
        counted = Counted(contender)
        made = counted.contender.sample(sampler, steps, condition, noise, seed=seed)
        rows.append({"steps": steps, "evaluations": counted.calls, "error": rms(made, converged.picture)})
    return rows


def fitted_order(rows: list[dict], floor: float) -> float | None:
    """Return the slope of log error against log steps, or None with too few rows.

    Only the FIT_POINTS finest rows whose error is above the floor are used.
    """
    used = [row for row in rows if row["error"] > ABOVE_FLOOR * floor][-FIT_POINTS:]
    if len(used) < FIT_POINTS:
        return None
    steps, error = np.log([r["steps"] for r in used]), np.log([r["error"] for r in used])
    return float(-np.polyfit(steps, error, 1)[0])


def by_strength(
    contender: Contender,
    sampler: str,
    counts: list[int],
    strengths: tuple[float, ...],
    condition: Condition,
    noise: Tensor,
    converged: int,
) -> list[dict]:
    """Measure whether a flow needs fewer steps on a shorter path, with the same sketches at each strength.

    strength: share of noise under the paint in the start. way: RMS distance from start to end.
    steps_to: number of steps for the error NEAR.
    """
    found = []
    for strength in strengths:
        asked = condition._replace(strength=torch.full_like(condition.strength, strength))
        end = converge(contender, asked, noise, converged)
        rows = errors(contender, sampler, counts, asked, noise, end)
        found.append(
            {
                "strength": strength,
                "way": rms(flow.start(asked, noise), end.picture),
                "floor": end.floor,
                "errors": rows,
                "steps_to": steps_to(rows),
            }
        )
    return found


def steps_to(rows: list[dict], error: float = NEAR) -> float | None:
    """Return the number of steps at which the error falls to `error`, or None if it never does.

    Interpolates linearly between logarithms.
    """
    for last, row in pairwise(rows):
        if row["error"] <= error < last["error"]:
            share = np.log(last["error"] / error) / np.log(last["error"] / row["error"])
            return float(last["steps"] * (row["steps"] / last["steps"]) ** share)
    return float(rows[0]["steps"]) if rows[0]["error"] <= error else None


def ode_samplers(kind: str) -> list[str]:
    return [name for name, entry in SAMPLERS.items() if entry.order and kind in entry.on]


class Counted:
    """A contender that counts the evaluations of its network."""

    def __init__(self, contender: Contender):
        self.calls = 0

        def network(*arguments: Tensor) -> Tensor:
            self.calls += 1
            return contender.network(*arguments)

        self.contender = Contender(contender.name, network, contender.path)


@torch.no_grad()
def evaluations(contender: Contender, sampler: str, steps: int) -> int:
    """Return the number of network evaluations for one picture, counted on a picture of one cell."""
    counted = Counted(Contender(contender.name, lambda x, *rest: x, contender.path))
    tiny = Condition(torch.zeros(1, 3, 4, 4), torch.zeros(1, 1, 4, 4), torch.ones(1), torch.zeros(1, 7))
    counted.contender.sample(sampler, steps, tiny, torch.zeros(1, 3, 4, 4))
    return counted.calls
