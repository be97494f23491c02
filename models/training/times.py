"""Sampling of training times of flows over (0, 1], and of the steps of a student."""

from __future__ import annotations

import torch
from torch import Tensor

from models.painter import flow

AT_START = 0.15  # share of samples at t=1 exactly, where every picture starts
STEP_COUNTS = (1, 2, 4)


def sample_times(count: int) -> Tensor:
    """Sample (B,) logit-normal times (Esser et al. 2024, SD3), with a share of them at t=1."""
    t = torch.sigmoid(torch.randn(count) * 1.2 + 0.3)
    return torch.where(torch.rand(count) < AT_START, torch.ones(count), t).clamp_min(flow.MIN_TIME)


def end_heavy_times(count: int) -> Tensor:
    """Sample (B,) times concentrated at both ends: arcsine density (Lee et al. 2024, improved reflow)."""
    return (0.5 - 0.5 * torch.cos(torch.pi * torch.rand(count))).clamp(flow.MIN_TIME, 1)


def step_times(count: int, step_counts: tuple[int, ...] = STEP_COUNTS) -> tuple[Tensor, Tensor]:
    """Sample (t, step), (B,) each: a time visited by a sampler of one of `step_counts`, and its step size."""
    steps = torch.tensor(step_counts)[torch.randint(len(step_counts), (count,))]
    index = (torch.rand(count) * steps).long()
    return 1 - index / steps, 1 / steps
