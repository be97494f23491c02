"""Stage 4, the finish: pictures of one to four steps against real ones, with the pyramid as an anchor."""

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
from models.training.critic import (
    SHIFT_PX,
    Critic,
    energy_loss,
    phase_loss,
    pyramid_loss,
    relativistic,
    roughness,
)
from models.training.grids import save_grid
from models.training.run import Run, follow, learning_rate, set_rate
from models.training.teacher import to_tensors

RATE, CRITIC_RATE = 2e-4, 4e-4
EMA_DECAY = 0.998
ROUGHNESS_WEIGHT = 100.0
ROUGHNESS_EVERY = 8  # steps
ADVERSARIAL = (0.05, 0.3)  # ramp of its weight over the first third
ANCHOR_LEVELS = (0.0, 0.1, 0.25, 0.5, 1.0)  # fine detail is the critics' business, colour the anchor's
OWN_SHARE = 0.7
PHASE_WEIGHT = 1.5
ENERGY_WEIGHT, ENERGY_LEVELS = 0.1, 3  # alone it is met by stripes and grids; the critics see those
MISMATCH_EVERY = 4  # steps
STEP_SHARES = ((1, 0.6), (2, 0.2), (4, 0.2))  # how often each number of steps is trained


def student_picture(network, condition: Condition, noise: Tensor, picture: Tensor, steps: int) -> Tensor:
    """The student's prediction at one of the times that `steps` steps visit.

    Later times lie on the way from the start to the student's own first picture, where sampling leads, most
    of the time, and to the real one otherwise: trained on real ones alone it sharpens its own faults.
    """
    count = len(noise)
    z = flow.start(condition, noise)
    index = int(torch.randint(steps, ()))
    t = torch.full((count,), 1 - index / steps)
    if index and torch.rand(()) < OWN_SHARE:
        with torch.no_grad():
            start, step = torch.ones(count), torch.full((count,), 1 / steps)
            picture = flow.denoise(network, z, condition, start, step).float()
    x_t = flow.interpolate(picture, z, t)
    return flow.denoise(network, x_t, condition, t, torch.full((count,), 1 / steps)).float()


def train(
    batch: Callable[[], tuple[np.ndarray, ...]],
    network: PainterNetwork,
    folder: Path,
    *,
    steps: int,
    batch_size: int,
    name: str = "painter",
) -> PainterNetwork:
    """Finish `network` in place; returns its average and writes `name`.safetensors in `folder`."""
    network = network.to(memory_format=torch.channels_last).requires_grad_(True)
    average = deepcopy(network).requires_grad_(False)
    critic = Critic().to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), RATE, betas=(0.5, 0.99), fused=True)
    critic_optimizer = torch.optim.Adam(critic.parameters(), CRITIC_RATE, betas=(0.5, 0.99), fused=True)
    parts = {
        "network": network,
        "average": average,
        "critic": critic,
        "optimizer": optimizer,
        "critic_optimizer": critic_optimizer,
    }
    run = Run(folder, parts, steps, batch_size)
    shown = to_tensors(batch())
    counts, shares = zip(*STEP_SHARES, strict=True)
    for step in run.steps(lambda done: save_grid(folder / f"grid-{done:07d}.png", average, *shown)):
        picture, condition = to_tensors(batch())
        sampled = counts[int(torch.multinomial(torch.tensor(shares), 1))]
        noise = torch.randn_like(picture)
        shift = tuple(torch.randint(0, SHIFT_PX, (2,)).tolist())
        rate = learning_rate(step, steps, 1.0, floor=0.1)
        set_rate(optimizer, RATE * rate)
        set_rate(critic_optimizer, CRITIC_RATE * rate)
        with torch.autocast("cpu", torch.bfloat16):
            fake = student_picture(network, condition, noise, picture, sampled)

            seen = fake.detach()
            real_scores, fake_scores = critic(picture, condition, shift), critic(seen, condition, shift)
            loss_critic = relativistic(real_scores, fake_scores)
            if step % MISMATCH_EVERY == 0:  # a real view beside another's sketch is as wrong as a bad picture
                loss_critic = loss_critic + 0.5 * relativistic(
                    real_scores, critic(picture.roll(1, 0), condition, shift)
                )
            rough = picture.new_zeros(())
            if step % ROUGHNESS_EVERY == 0:
                rough = roughness(critic, picture, condition, real_scores, shift)
                rough = rough + roughness(critic, seen, condition, fake_scores, shift)
        critic_optimizer.zero_grad(set_to_none=True)
        (loss_critic + ROUGHNESS_EVERY * ROUGHNESS_WEIGHT * rough).backward()
        critic_optimizer.step()

        critic.requires_grad_(False)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                real_scores = critic(picture, condition, shift)
            loss_adversarial = relativistic(critic(fake, condition, shift), real_scores)
        anchor = pyramid_loss(fake, picture, ANCHOR_LEVELS)
        phase = phase_loss(fake)
        energy = energy_loss(fake, picture, ENERGY_LEVELS)
        low, high = ADVERSARIAL
        weight = low + (high - low) * min(1.0, step / max(1, steps / 3))
        optimizer.zero_grad(set_to_none=True)
        (weight * loss_adversarial + anchor + PHASE_WEIGHT * phase + ENERGY_WEIGHT * energy).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        critic.requires_grad_(True)
        follow(average, network, EMA_DECAY, step)
        run.note(
            critic=loss_critic.item(),
            rough=rough.item(),
            adversarial=loss_adversarial.item(),
            anchor=anchor.item(),
            phase=phase.item(),
            energy=energy.item(),
        )
    save(folder / f"{name}.safetensors", average.state_dict(), average.config.as_dict(), dtype=torch.bfloat16)
    return average
