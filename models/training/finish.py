"""Stage 4, the finish: pictures of one to four steps learn the textures of real ones, anchored in colour."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models import flow
from models.checkpoint import save
from models.flow import Condition
from models.network import PainterNetwork
from models.training.grids import save_grid
from models.training.losses import grid_loss, pyramid_loss, texture_loss
from models.training.run import Run, follow, learning_rate, set_rate
from models.training.teacher import to_tensors

RATE = 2e-4
EMA_DECAY = 0.998
TEXTURE_WEIGHT, GRID_WEIGHT = 0.3, 3.0
ANCHOR_LEVELS = (0.0, 0.05, 0.3, 0.6, 1.0)  # fine detail is the texture's business, colour the anchor's
OWN_SHARE = 0.7
KEPT = 0.15  # of the weights from before, mixed in at the end: further steps else sharpen what the first made
STEP_SHARES = ((1, 0.5), (2, 0.25), (4, 0.25))  # how often each number of steps is trained


def student_picture(network, condition: Condition, z: Tensor, picture: Tensor, steps: int) -> Tensor:
    """The student's prediction at one of the times that `steps` steps visit.

    Later times lie on the way from the start to the student's own first picture, where sampling leads, most
    of the time, and to the real one otherwise: trained on real ones alone it sharpens its own faults.
    """
    count = len(z)
    index = int(torch.randint(steps, ()))
    t = torch.full((count,), 1 - index / steps)
    if index and torch.rand(()) < OWN_SHARE:
        with torch.no_grad():
            picture = first_picture(network, condition, z, 1 / steps)
    x_t = flow.interpolate(picture, z, t)
    return flow.denoise(network, x_t, condition, t, torch.full((count,), 1 / steps)).float()


def first_picture(network, condition: Condition, z: Tensor, step: float) -> Tensor:
    """What the network foresees at the start, of a sampler whose first step has that length."""
    start = torch.ones(len(z))
    return flow.denoise(network, z, condition, start, step * start).float()


def train(
    batch: Callable[[], tuple[np.ndarray, ...]],
    network: PainterNetwork,
    folder: Path,
    *,
    steps: int,
    batch_size: int,
    keep_forms: bool = True,
    name: str = "painter",
) -> PainterNetwork:
    """Finish `network` in place; returns its average, mixed with what it was before (Wortsman et al. 2022,
    robust fine-tuning), and writes `name`.safetensors in `folder`.

    keep_forms: the anchor is what the network painted before from the same noise, so that clouds and slopes
    that it made up stay; else it is the real picture, whose forms and colours are learnt.
    """
    before = deepcopy(network).to(memory_format=torch.channels_last).requires_grad_(False)
    network = network.to(memory_format=torch.channels_last).requires_grad_(True)
    average = deepcopy(network).requires_grad_(False)
    optimizer = torch.optim.Adam(network.parameters(), RATE, betas=(0.9, 0.99), fused=True)
    run = Run(folder, {"network": network, "average": average, "optimizer": optimizer}, steps, batch_size)
    shown = to_tensors(batch())
    counts, shares = zip(*STEP_SHARES, strict=True)
    for step in run.steps(lambda done: save_grid(folder / f"grid-{done:07d}.png", average, *shown)):
        picture, condition = to_tensors(batch())
        sampled = counts[int(torch.multinomial(torch.tensor(shares), 1))]
        z = flow.start(condition, torch.randn_like(picture))
        with torch.autocast("cpu", torch.bfloat16):
            made = student_picture(network, condition, z, picture, sampled)
            with torch.no_grad():
                form = first_picture(before, condition, z, 1.0) if keep_forms else picture
        anchor = pyramid_loss(made, form, ANCHOR_LEVELS)
        texture, grid = texture_loss(made, picture), grid_loss(made)
        set_rate(optimizer, learning_rate(step, steps, RATE, floor=0.1))
        optimizer.zero_grad(set_to_none=True)
        (anchor + TEXTURE_WEIGHT * texture + GRID_WEIGHT * grid).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        follow(average, network, EMA_DECAY, step)
        run.note(anchor=anchor.item(), texture=texture.item(), grid=grid.item())
    torch._foreach_lerp_(list(average.parameters()), list(before.parameters()), KEPT)
    save(folder / f"{name}.safetensors", average.state_dict(), average.config.as_dict(), dtype=torch.bfloat16)
    return average
