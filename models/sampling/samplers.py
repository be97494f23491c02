"""Samplers of the lab by name: function, grid, and the kinds of model each one supports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from models.api import ModelError
from models.sampling import solvers, stochastic
from models.sampling.paths import TIMESTEPS, Grid, Path, karras, uniform


@dataclass(frozen=True)
class Sampler:
    """A sampler.

    order: of convergence to the ODE's solution, 0 where it does not converge to it. on: "diffusion", "flow",
    or both. usual: the number of steps it is commonly run with. highest: the largest useful number.
    """

    label: str
    run: Callable[..., Tensor]
    order: int
    on: tuple[str, ...] = ("diffusion", "flow")
    grid: Callable[[Path, int], Grid] = uniform
    usual: int = 30
    highest: int = TIMESTEPS


SAMPLERS: dict[str, Sampler] = {
    "ddpm": Sampler("DDPM ancestral", stochastic.ancestral, 0, ("diffusion",), usual=TIMESTEPS),
    "ddim": Sampler("DDIM", solvers.ddim, 1, usual=50),
    "euler": Sampler("probability-flow Euler", solvers.path_euler, 1, ("diffusion",)),
    "heun": Sampler("Heun", solvers.heun, 2, grid=karras, usual=18),
    "euler-a": Sampler("Euler a", stochastic.ancestral, 0, usual=20),
    "dpm++2m": Sampler("DPM++ 2M", solvers.dpm_2m, 2),
    "dpm++2m-karras": Sampler("DPM++ 2M Karras", solvers.dpm_2m, 2, grid=karras, usual=20),
    "dpm++2s-a": Sampler("DPM++ 2S a", stochastic.dpm_2s_ancestral, 0, usual=15),
    "dpm++sde": Sampler("DPM++ SDE", stochastic.dpm_sde, 0, usual=15),
    "unipc": Sampler("UniPC", solvers.unipc, 3, usual=20),
    "flow-euler": Sampler("flow Euler", solvers.path_euler, 1, ("flow",), usual=4),
    "flow-heun": Sampler("flow Heun", solvers.path_heun, 2, ("flow",), usual=8),
}


def sampler_of(name: str, kind: str, steps: int = 1) -> Sampler:
    """Return a sampler for a kind of contender. Raises ModelError where name, kind or steps is invalid."""
    if name not in SAMPLERS:
        raise ModelError(f"no sampler is named {name!r}; choose {', '.join(SAMPLERS)}")
    sampler = SAMPLERS[name]
    if kind not in sampler.on:
        fitting = ", ".join(other for other, entry in SAMPLERS.items() if kind in entry.on)
        raise ModelError(f"sampler {name} cannot be used on a {kind}; choose {fitting}")
    if not 1 <= steps <= sampler.highest:
        raise ModelError(f"a sampler takes 1 to {sampler.highest} steps, not {steps}")
    return sampler
