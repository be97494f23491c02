"""Stage 2, reflow: retrain the flow on its own couplings, which straightens its paths (Liu et al. 2022)."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch

from models.checkpoint import save
from models.device.layout import channels_last
from models.device.precision import autocast
from models.painter import flow
from models.painter.flow import Condition
from models.painter.network import PainterNetwork
from models.training import distributed
from models.training.color_painter.couplings import Couplings
from models.training.data.tensors import to_tensors
from models.training.evaluation.grids import save_grid
from models.training.run import Run, follow, learning_rate, set_rate
from models.training.times import end_heavy_times

RATE = 4e-4
EMA_DECAY = 0.999
HEUN_STEPS = 16
REAL_SHARE = 0.5  # share of real pairs in each batch, so that the flow does not drift from the data


def train(
    batch: Callable[[], tuple[np.ndarray, ...]],
    teacher: PainterNetwork,
    folder: Path,
    *,
    steps: int,
    batch_size: int,
    coupled_batches: int,
) -> PainterNetwork:
    """Straighten `teacher`; return the averaged network and write reflow.safetensors in `folder`."""
    network = channels_last(deepcopy(teacher)).requires_grad_(True)
    average = deepcopy(network).requires_grad_(False)
    optimizer = torch.optim.AdamW(
        network.parameters(), RATE, betas=(0.9, 0.99), weight_decay=0.01, fused=True
    )
    run = Run(folder, {"network": network, "average": average, "optimizer": optimizer}, steps, batch_size)
    couplings = None
    if run.step < steps:
        couplings = Couplings.make(teacher, batch, batches=coupled_batches, steps=HEUN_STEPS)
    shown = to_tensors(batch())
    real_count = int(batch_size * REAL_SHARE)
    for step in run.steps(lambda done: save_grid(folder / f"grid-{done:07d}.png", average, *shown)):
        real, real_condition = to_tensors(batch())
        real, real_condition = real[:real_count], real_condition.rows(slice(real_count))
        assert couplings is not None  # there are steps left
        z, picture, condition = couplings.draw(batch_size - real_count)
        z = torch.cat((flow.start(real_condition, torch.randn_like(real)), z))
        picture = torch.cat((real, picture))
        condition = Condition(*(torch.cat(pair) for pair in zip(real_condition, condition, strict=True)))
        t = end_heavy_times(len(picture))
        x_t = flow.interpolate(picture, z, t)
        with autocast():
            predicted = flow.denoise(network, x_t, condition, t, t * torch.rand_like(t))
        each = flow.velocity_loss(predicted.float(), picture, t)
        loss = (each / each.detach().clamp_min(1e-3)).mean()  # easy and hard samples weigh the same
        set_rate(optimizer, learning_rate(step, steps, RATE))
        optimizer.zero_grad(set_to_none=True)
        distributed.backward(loss, network.parameters())
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        follow(average, network, EMA_DECAY, step)
        run.note(real=each[:real_count].mean().item(), coupled=each[real_count:].mean().item())
    save(folder / "reflow.safetensors", average.state_dict(), average.config.as_dict(), dtype=torch.bfloat16)
    return average
