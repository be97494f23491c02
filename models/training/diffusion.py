"""The contender of the lab: the painter's network trained as a diffusion, on what the teacher saw."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch

from models.checkpoint import save
from models.lab import diffusion
from models.lab.contenders import Contender
from models.lab.path import path_of
from models.network import NetworkConfig, PainterNetwork
from models.training.run import Run, follow, learning_rate, set_rate
from models.training.teacher import EMA_DECAY, PEAK_RATE, to_tensors


def train(
    batch: Callable[[], tuple[np.ndarray, ...]],
    folder: Path,
    *,
    schedule: str,
    steps: int,
    batch_size: int,
    config: NetworkConfig | None = None,
    measure: Callable[[Contender, int], None] | None = None,
) -> PainterNetwork:
    """Train and return the averaged network; writes diffusion-SCHEDULE.safetensors in `folder`.

    schedule: "linear" or "cosine". Optimizer, rate, average, precision and clipping are the teacher's.
    measure: called with the contender and the images seen, whenever the run is saved.
    """
    path = path_of(schedule)
    network = PainterNetwork(config).to(memory_format=torch.channels_last)
    average = deepcopy(network).requires_grad_(False)
    optimizer = torch.optim.AdamW(
        network.parameters(), PEAK_RATE, betas=(0.9, 0.99), weight_decay=0.01, fused=True
    )
    parts = {"network": network, "average": average, "optimizer": optimizer}
    run = Run(folder, parts, steps, batch_size)
    name = f"diffusion-{schedule}"

    def on_sample(done: int) -> None:
        if measure:
            measure(Contender(name, average, path), done * batch_size)

    for step in run.steps(on_sample):
        picture, condition = to_tensors(batch())
        noised = diffusion.add_noise(diffusion.residual(picture, condition), path)
        with torch.autocast("cpu", torch.bfloat16):
            predicted = diffusion.epsilon(network, noised.x_t, condition, noised.t)
        loss = diffusion.epsilon_loss(predicted, noised.noise).mean()
        set_rate(optimizer, learning_rate(step, steps, PEAK_RATE))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        follow(average, network, EMA_DECAY, step)
        run.note(loss=loss.item(), norm=norm.item())
    about = {**average.config.as_dict(), "diffusion": schedule}
    save(folder / f"{name}.safetensors", average.state_dict(), about, dtype=torch.bfloat16)
    return average
