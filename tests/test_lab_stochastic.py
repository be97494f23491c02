"""Tests of stochastic samplers against the exact SDE solution for Gaussian data and diffusers."""

from __future__ import annotations

import math
import sys
from importlib import import_module
from itertools import pairwise
from types import ModuleType

import numpy as np
import pytest
import torch
from gaussian import KINDS, MEAN, SPREAD, denoiser, exact, trained_betas

from models.sampling.paths import PATHS, Grid, path_of, uniform
from models.sampling.samplers import SAMPLERS

SDE = [(s, p) for s, e in SAMPLERS.items() for p in PATHS if not e.order and KINDS[p] in e.on]


@pytest.mark.parametrize(("name", "on"), SDE)
def test_stochastic_samplers_give_the_marginal_variance(name, on):
    path, sampler = path_of(on), SAMPLERS[name]
    draws = torch.Generator().manual_seed(1)
    count = 40_000
    a, b = path.scale(path.start)

    def noise():
        return torch.randn(count, generator=draws, dtype=torch.float64)

    x = a * (MEAN + SPREAD * noise()) + b * noise()
    made = sampler.run(denoiser(path), x, sampler.grid(path, 400), noise)
    assert made.mean().item() == pytest.approx(MEAN, abs=0.012)
    assert made.std().item() == pytest.approx(SPREAD, rel=0.02)


@pytest.mark.parametrize(("name", "on"), SDE)
def test_stochastic_samplers_have_the_mean_of_the_sde(name, on):
    """Without noise a sampler gives the known mean of x given the start.

    It is exact at each step, except for 2S, which converges to it with order 1.
    """
    path, sampler = path_of(on), SAMPLERS[name]
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)
    start, end = path.time(20), path.time(0.1)
    (a, b), (a_end, b_end) = path.scale(start), path.scale(end)
    share = (a / a_end) * ((a_end * SPREAD) ** 2 + b_end**2) / ((a * SPREAD) ** 2 + b**2)
    mean = a_end * MEAN + share * (x - a * MEAN)
    errors, counts = [], (64, 128, 256)
    for steps in counts:
        grid = Grid(path, tuple(np.linspace(start, end, steps + 1).tolist()))
        made = sampler.run(denoiser(path), x, grid, lambda: torch.zeros(9, dtype=torch.float64))
        errors.append((made - mean).abs().max().item())
    if name != "dpm++2s-a":
        assert max(errors) < 1e-12
        return
    assert errors[0] < 0.01
    assert 0.75 < -np.polyfit(np.log(counts), np.log(errors), 1)[0] < 1.25, errors


class BrownianPath:
    """A Brownian path over cells of sigma, as a vector of one unit-normal coefficient per cell.

    The norm of a linear sampler's output is an exact standard deviation; no random numbers are drawn.
    """

    def __init__(self, sigmas: np.ndarray):
        self.sigmas = sigmas
        self.cells = torch.from_numpy(np.sqrt(sigmas[:-1] - sigmas[1:]))

    def unit(self, start: float, end: float) -> torch.Tensor:
        low, high = (int(np.abs(self.sigmas - sigma).argmin()) for sigma in (start, end))
        part = torch.zeros_like(self.cells)
        part[low:high] = self.cells[low:high]
        return part / part.norm()

    def noise(self, steps: list[float]):
        """Function that returns the path's unit increments between these sigmas, one per call."""
        return map(self.unit, steps[:-1], steps[1:]).__next__


@pytest.mark.parametrize(
    ("name", "strong", "weak"), [("euler-a", 1, 1), ("dpm++2s-a", 1, 1), ("dpm++sde", 1, 2)]
)
def test_orders_of_the_stochastic_samplers_on_a_linear_sde(name, strong, weak):
    """Strong and weak order of convergence on a linear SDE.

    The SDE is dy = 2 (y - D) / sigma dsigma + sqrt(2 sigma) dW in y = x / a. Its noise at the end is an
    integral over the path. Halving the step size keeps the path.
    """
    linear, (high, low) = path_of("linear"), (5.0, 0.1)
    fine = np.geomspace(high, low, 8192 + 1)
    path, middle = BrownianPath(fine), torch.from_numpy(np.sqrt(fine[:-1] * fine[1:]))
    solution = (SPREAD**2 + low**2) / (SPREAD**2 + middle**2) * (2 * middle).sqrt() * path.cells
    a_end, counts = linear.scale(linear.time(low))[0], (256, 512, 1024)
    distances, variances = [], []
    for steps in counts:
        sigmas = np.geomspace(high, low, steps + 1)
        grid = Grid(linear, tuple(map(linear.time, sigmas)))
        visited = fine[:: 8192 // (2 * steps)] if name == "dpm++sde" else sigmas
        silent, loud = (
            SAMPLERS[name].run(denoiser(linear), torch.zeros(8192, dtype=torch.float64), grid, noise)
            for noise in (lambda: 0.0, path.noise(list(visited)))
        )
        made = (loud - silent) / a_end
        distances.append((made - solution).norm().item())
        variances.append(abs(made.square().sum() - solution.square().sum()).item())
    for errors, order in ((distances, strong), (variances, weak)):
        assert order - 0.2 < -np.polyfit(np.log(counts), np.log(errors), 1)[0] < order + 0.3, errors


@pytest.mark.parametrize("name", [name for name, entry in SAMPLERS.items() if not entry.order])
def test_stochastic_samplers_do_not_end_where_the_ode_does(name):
    path, draws = path_of("linear"), torch.Generator().manual_seed(1)
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)

    def noise():
        return torch.randn(9, generator=draws, dtype=torch.float64)

    for steps in (50, 400):
        made = SAMPLERS[name].run(denoiser(path), x, uniform(path, steps), noise)
        assert (made - exact(path, x)).abs().mean() > 0.2


@pytest.mark.slow
def test_dpm_sde_agrees_with_diffusers_on_one_brownian_path(monkeypatch):
    """The noise comes from BrownianPath, so the package that diffusers uses to draw it is not needed."""
    import_module("diffusers.schedulers.scheduling_utils")
    monkeypatch.setitem(sys.modules, "torchsde", ModuleType("torchsde"))
    module = import_module("diffusers.schedulers.scheduling_dpmsolver_sde")
    scheduler = module.DPMSolverSDEScheduler(trained_betas=trained_betas(), use_karras_sigmas=True)
    scheduler.set_timesteps(12)
    sigmas = sorted(set(scheduler.sigmas.tolist()), reverse=True)
    between = [math.sqrt(u * v) for u, v in pairwise(sigmas[:-1])]
    visited = np.array(sorted([*sigmas[:-1], *between], reverse=True))
    path, linear = BrownianPath(visited), path_of("linear")
    weights = torch.randn(len(path.cells), 9, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def drawn(part):
        return (part @ weights).view(9, 1, 1, 1)

    scheduler.noise_sampler = lambda start, end: drawn(path.unit(float(start), float(end)))
    x = sigmas[0] * torch.linspace(-2, 2, 9, dtype=torch.float64).view(9, 1, 1, 1)
    asked = iter(visited[:-1].tolist() + sigmas[-2:-1])
    theirs, ours = x, x * linear.scale(linear.time(sigmas[0]))[0]
    for t in scheduler.timesteps:
        sigma = next(asked)
        a, _ = linear.scale(linear.time(sigma))
        epsilon = (theirs - denoiser(linear)(theirs * a, linear.time(sigma), 0)) / sigma
        theirs = scheduler.step(epsilon, t, theirs).prev_sample
    parts = path.noise(visited.tolist())
    grid = Grid(linear, (*map(linear.time, sigmas[:-1]), 0.0))
    made = SAMPLERS["dpm++sde"].run(denoiser(linear), ours, grid, lambda: drawn(parts()))
    assert torch.allclose(made, theirs, atol=2e-4), (made - theirs).abs().max()


@pytest.mark.slow
def test_ddpm_has_the_coefficients_of_diffusers():
    """Compare one step from each timestep: the mean without noise, the deviation with unit noise."""
    import diffusers

    theirs = diffusers.DDPMScheduler(trained_betas=trained_betas(), clip_sample=False)
    theirs.set_timesteps(1000)
    path = path_of("linear")
    x = torch.full((1, 1), 1.3, dtype=torch.float64)
    for index in (999, 500, 20):
        now, then = (index + 1) / 1000, index / 1000
        grid = Grid(path, (now, then))
        a, b = grid.scale(0)
        epsilon = (x - a * denoiser(path)(x, now, 0)) / b
        silent = SAMPLERS["ddpm"].run(denoiser(path), x, grid, lambda: torch.zeros(1, 1))
        loud = SAMPLERS["ddpm"].run(denoiser(path), x, grid, lambda: torch.ones(1, 1))
        posterior = theirs._get_variance(index).sqrt().item()
        assert (loud - silent).item() == pytest.approx(posterior, rel=1e-4)
        generator = torch.Generator().manual_seed(0)
        made = theirs.step(epsilon, index, x, generator=generator).prev_sample
        drawn = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
        assert (silent + posterior * drawn).item() == pytest.approx(made.item(), rel=1e-3)
