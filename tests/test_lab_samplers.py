"""Tests of ODE samplers against the exact solution for Gaussian data and against diffusers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gaussian import KINDS, denoiser, exact, trained_betas

from models.api import ModelError
from models.sampling.paths import PATHS, Grid, karras, path_of, sigma_at, uniform
from models.sampling.samplers import SAMPLERS, sampler_of

ODE = [(s, p) for s, e in SAMPLERS.items() for p in PATHS if e.order and KINDS[p] in e.on]


def no_noise():
    raise AssertionError("an ODE solver asked for noise")


@pytest.mark.parametrize("name", PATHS)
def test_paths_agree_with_their_own_derivatives_and_inverses(name):
    path, small = path_of(name), 1e-6
    for t in (0.05, 0.3, 0.7, 0.95):
        low, high = path.scale(t - small), path.scale(t + small)
        slope = [(v - u) / (2 * small) for u, v in zip(low, high, strict=True)]
        assert slope == pytest.approx(path.slope(t), rel=1e-5)
        assert path.time(sigma_at(path, t)) == pytest.approx(t, rel=1e-9)
    assert path.scale(0) == pytest.approx((1, 0), abs=1e-9)


def test_grids_fall_from_start_to_zero():
    for name in PATHS:
        path = path_of(name)
        for make in (uniform, karras):
            for steps in (1, 2, 7, 50):
                times = make(path, steps).times
                assert len(times) == steps + 1 and times[0] == path.start and times[-1] == 0
                assert list(times) == sorted(set(times), reverse=True)
        with pytest.raises(ValueError, match="at least one step"):
            karras(path, 0)


@pytest.mark.parametrize(("name", "on"), ODE)
def test_order_of_convergence(name, on):
    """Error against the exact solution at an end time above 0; a last step to t=0 would hide the order."""
    path, sampler = path_of(on), SAMPLERS[name]
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)
    end = path.time(0.1)
    errors, counts = [], (64, 128, 256, 512)
    for steps in counts:
        times = np.linspace(path.start, end, steps + 1)
        grid = Grid(path, tuple(times.tolist()))
        made = sampler.run(denoiser(path), x, grid, no_noise)
        errors.append((made - exact(path, x, end)).abs().max().item())
    order = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert sampler.order - 0.25 < order < sampler.order + 0.8, errors


@pytest.mark.parametrize(("name", "on"), ODE)
def test_whole_runs_reach_the_exact_answer(name, on):
    path, sampler = path_of(on), SAMPLERS[name]
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)
    steps = 400 if sampler.order == 1 else 100
    made = sampler.run(denoiser(path), x, sampler.grid(path, steps), no_noise)
    assert (made - exact(path, x)).abs().max() < 0.02


@pytest.mark.parametrize("name", SAMPLERS)
def test_evaluations(name):
    entry = SAMPLERS[name]
    path = path_of("linear" if "diffusion" in entry.on else "flow")
    calls: list[float] = []
    entry.run(denoiser(path, calls), torch.ones(3), entry.grid(path, 5), lambda: torch.zeros(3))
    assert len(calls) == (9 if name in ("heun", "flow-heun", "dpm++2s-a", "dpm++sde") else 5)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_callback_ends_the_run(name):
    entry, seen = SAMPLERS[name], []
    path = path_of("linear" if "diffusion" in entry.on else "flow")

    def stop(index, t, picture):
        seen.append(index)
        return index == 1

    entry.run(denoiser(path), torch.ones(3), entry.grid(path, 5), lambda: torch.zeros(3), stop)
    assert seen == [0, 1]


def test_one_sampler_on_two_paths_through_the_same_sigmas_gives_the_same_picture():
    linear, flow = path_of("linear"), path_of("flow")
    sigmas = np.geomspace(20, 0.05, 12).tolist()
    x = torch.linspace(-2, 2, 5, dtype=torch.float64)
    for name in ("ddim", "heun", "dpm++2m", "unipc"):
        made = []
        for path in (linear, flow):
            grid = Grid(path, (*(path.time(sigma) for sigma in sigmas), 0.0))
            a, b = grid.scale(0)
            start = x * (a * 20 if path is linear else b)
            made.append(SAMPLERS[name].run(denoiser(path), start, grid, no_noise))
        assert torch.allclose(*made, atol=1e-9)


# Comparison with diffusers: same sigmas, same epsilons


def scheduled(scheduler, steps: int, x: torch.Tensor) -> tuple[torch.Tensor, list[float]]:
    """Run a diffusers scheduler on the epsilon of the Gaussian; return the final sample and the sigmas."""
    scheduler.set_timesteps(steps)
    sigmas = [float(sigma) for sigma in scheduler.sigmas]
    for index, t in enumerate(scheduler.timesteps):
        path = path_of("linear")
        a, b = path.scale(path.time(sigmas[index]))
        state = x * a if type(scheduler).__name__ == "EulerDiscreteScheduler" else x
        epsilon = (state - a * denoiser(path)(state, path.time(sigmas[index]), 0)) / b
        x = scheduler.step(epsilon, t, x).prev_sample
    return x, sigmas


FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "final_sigmas_type": "zero"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [
        ("dpm++2m", "DPMSolverMultistepScheduler", {"final_sigmas_type": "zero"}),
        (
            "dpm++2m-karras",
            "DPMSolverMultistepScheduler",
            {"final_sigmas_type": "zero", "use_karras_sigmas": True},
        ),
        ("unipc", "UniPCMultistepScheduler", {"final_sigmas_type": "zero"}),
        ("ddim", "EulerDiscreteScheduler", {}),
    ],
)
def test_solvers_agree_with_diffusers(ours, theirs, options):
    import diffusers

    scheduler = getattr(diffusers, theirs)(trained_betas=trained_betas(), **options)
    x = torch.linspace(-2, 2, 9, dtype=torch.float64).view(9, 1, 1, 1)
    path = path_of("linear")
    scheduler.set_timesteps(12)
    first = float(scheduler.sigmas[0])
    a, b = path.scale(path.time(first))
    their_x = x * b if theirs != "EulerDiscreteScheduler" else x * b / a
    end, sigmas = scheduled(scheduler, 12, their_x)
    grid = Grid(path, tuple(path.time(sigma) for sigma in sigmas))
    made = SAMPLERS[ours].run(denoiser(path), x * b, grid, no_noise)
    assert torch.allclose(made, end, atol=2e-4), (made - end).abs().max()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [
        ("flow-euler", "FlowMatchEulerDiscreteScheduler", {}),
        ("flow-heun", "FlowMatchHeunDiscreteScheduler", {}),
        ("dpm++2m", "DPMSolverMultistepScheduler", FLOW),
        ("unipc", "UniPCMultistepScheduler", FLOW),
    ],
)
def test_solvers_of_a_flow_agree_with_diffusers(ours, theirs, options):
    import diffusers

    scheduler = getattr(diffusers, theirs)(**options)
    scheduler.set_timesteps(12)
    made = x = torch.linspace(-2, 2, 9, dtype=torch.float64).view(9, 1, 1, 1)
    path = path_of("flow")
    times = [float(sigma) for sigma in scheduler.sigmas]
    for t, moment in zip(times, scheduler.timesteps, strict=False):
        velocity = (made - denoiser(path)(made, t, 0)) / t
        made = scheduler.step(velocity, moment, made).prev_sample
    grid = Grid(path, tuple(sorted(set(times), reverse=True)))
    assert torch.allclose(SAMPLERS[ours].run(denoiser(path), x, grid, no_noise), made, atol=2e-4)


def test_what_cannot_be_used_is_told():
    with pytest.raises(ModelError, match=r"no sampler is named 'foo'; choose ddpm, "):
        sampler_of("foo", "flow")
    with pytest.raises(ModelError, match=r"sampler ddpm cannot be used on a flow; choose ddim"):
        sampler_of("ddpm", "flow")
    with pytest.raises(ModelError, match="1 to 1000 steps, not 0"):
        sampler_of("ddim", "flow", 0)
