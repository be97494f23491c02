"""Stage 1, teacher: train a many-step flow from noise to views, without shortcuts."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.checkpoint import save
from models.device.layout import channels_last
from models.device.precision import autocast
from models.painter import flow
from models.painter.contenders import Contender
from models.painter.flow import Condition
from models.painter.network import NetworkConfig, PainterNetwork
from models.sampling.paths import Straight
from models.training import distributed
from models.training.data.tensors import to_tensors
from models.training.evaluation.grids import save_grid
from models.training.run import Run, follow, learning_rate, set_rate
from models.training.times import sample_times

PEAK_RATE = 1e-3
EMA_DECAY = 0.999


def train(
    batch: Callable[[], tuple[np.ndarray, ...]],
    folder: Path,
    *,
    steps: int,
    batch_size: int,
    config: NetworkConfig | None = None,
    initial: dict[str, Tensor] | None = None,
    measure: Callable[[Contender, int], None] | None = None,
) -> PainterNetwork:
    """Train and return the averaged teacher; writes teacher.safetensors in `folder`.

    measure: called with the teacher and the images seen, at each save of the run. early.safetensors in the
    same folder is the state after a tenth of the steps, for the lab.
    """
    shown = to_tensors(batch())

    def keep(average: PainterNetwork, name: str) -> None:
        path = folder / f"{name}.safetensors"
        save(path, average.state_dict(), average.config.as_dict(), dtype=torch.bfloat16)

    def on_sample(average: PainterNetwork, done: int) -> None:
        save_grid(folder / f"grid-{done:07d}.png", average, *shown)
        if done >= steps // 10 and not (folder / "early.safetensors").exists():
            keep(average, "early")
        if measure:
            measure(Contender("teacher", average, Straight()), done * batch_size)

    network = PainterNetwork(config)
    if initial:
        network.load_state_dict(initial)
    average = learn(network, velocity_loss, batch, folder, on_sample, steps=steps, batch_size=batch_size)
    keep(average, "teacher")
    return average


def velocity_loss(network: PainterNetwork, picture: Tensor, condition: Condition) -> Tensor:
    t = sample_times(len(picture))
    z = flow.start(condition, torch.randn_like(picture))
    x_t = flow.interpolate(picture, z, t)
    any_step = t * torch.rand_like(t)  # random, so that the teacher learns to ignore the step size
    with autocast():
        predicted = flow.denoise(network, x_t, condition, t, any_step)
    return flow.velocity_loss(predicted.float(), picture, t).mean()


def learn(
    network: PainterNetwork,
    loss_of: Callable[[PainterNetwork, Tensor, Condition], Tensor],
    batch: Callable[[], tuple[np.ndarray, ...]],
    folder: Path,
    on_sample: Callable[[PainterNetwork, int], None],
    *,
    steps: int,
    batch_size: int,
) -> PainterNetwork:
    """Minimise `loss_of`(network, picture, condition) and return the average of the weights.

    Shared by flows and the diffusions that they are compared with.
    on_sample: called with the average and the steps done, at each save of the run.
    """
    network = channels_last(network)
    average = deepcopy(network).requires_grad_(False)
    optimizer = torch.optim.AdamW(
        network.parameters(), PEAK_RATE, betas=(0.9, 0.99), weight_decay=0.01, fused=True
    )
    run = Run(folder, {"network": network, "average": average, "optimizer": optimizer}, steps, batch_size)
    for step in run.steps(lambda done: on_sample(average, done)):
        loss = loss_of(network, *to_tensors(batch()))
        set_rate(optimizer, learning_rate(step, steps, PEAK_RATE))
        optimizer.zero_grad(set_to_none=True)
        distributed.backward(loss, network.parameters())
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        follow(average, network, EMA_DECAY, step)
        run.note(loss=loss.item(), norm=norm.item())
    return average
