"""The lab's diffusion contender: the painter's network trained as a diffusion on the teacher's data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.checkpoint import save
from models.device.precision import autocast
from models.painter import diffusion
from models.painter.contenders import Contender
from models.painter.flow import Condition
from models.painter.network import NetworkConfig, PainterNetwork
from models.sampling.paths import path_of
from models.training.color_painter.teacher import learn


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

    schedule: "linear" or "cosine". All other settings are the teacher's.
    measure: called with the contender and the images seen, at each save of the run.
    """
    path, name = path_of(schedule), f"diffusion-{schedule}"

    def epsilon_loss(network: PainterNetwork, picture: Tensor, condition: Condition) -> Tensor:
        noised = diffusion.add_noise(diffusion.residual(picture, condition), path)
        with autocast():
            predicted = diffusion.epsilon(network, noised.x_t, condition, noised.t)
        return diffusion.epsilon_loss(predicted, noised.noise).mean()

    def on_sample(average: PainterNetwork, done: int) -> None:
        if measure:
            measure(Contender(name, average, path), done * batch_size)

    network = PainterNetwork(config)
    average = learn(network, epsilon_loss, batch, folder, on_sample, steps=steps, batch_size=batch_size)
    about = {**average.config.as_dict(), "diffusion": schedule}
    save(folder / f"{name}.safetensors", average.state_dict(), about, dtype=torch.bfloat16)
    return average
