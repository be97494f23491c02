"""Finish stage: adversarial training of one-, two- and four-step pictures with two segmentation critics.

Starts from a distilled student or from random weights: one-step generation needs no prior flow. Further
steps start from the network's own pictures and are trained to agree with the first one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.checkpoint import save
from models.device.layout import channels_last
from models.device.precision import autocast
from models.painter.flow import CELL_PX
from models.painter.materials.condition import MaterialCondition
from models.painter.materials.flow import MaterialFlow
from models.training import feature_network
from models.training.data.crops import Batch, Prefetcher, Sample, to_batch
from models.training.material_painter.critics import (
    ClassWeights,
    FeatureCritic,
    PixelCritic,
    critic_loss,
    damping,
    painter_loss,
)
from models.training.material_painter.losses import anchor_loss, anchor_weights, feature_mean_loss
from models.training.run import Run, follow, set_rate

Draw = Callable[[np.random.Generator], list[Sample]]
Show = Callable[[MaterialFlow, Path], None]


@dataclass(frozen=True)
class Recipe:
    """Learning rates and loss weights of the finish; the defaults are those of the trial of 2026-11-28."""

    rate: float = 4e-4
    critic_rate: float = 8e-4
    average: float = 0.998
    warm_up: int = 200
    fall_from: float = 0.6  # share of the steps after which the rates fall linearly to `floor`
    floor: float = 0.05
    anchor: float = 2.0
    features: float = 0.3
    critic: float = 0.5
    critic_ramp: int = 500
    pixel_share: float = 0.5  # share of the critic's weight given to the pixel critic
    damp: float = 0.05
    damp_from: float = 0.6  # share of the steps after which damping starts
    damp_every: int = 4
    deviation: float = 0.05  # standard deviation of the disturbance used for damping
    one_step: float = 0.7  # share of batches; the others train a step of two or four
    agreement: float = 4.0  # weight of the agreement of further steps with the first picture


class Window(NamedTuple):
    """Part of the crop that a critic sees: position and side in pixels, and the side it is resized to."""

    y: int
    x: int
    side: int
    seen: int

    def pixels(self, pictures: Tensor) -> Tensor:
        part = pictures[..., self.y : self.y + self.side, self.x : self.x + self.side]
        if self.side == self.seen:
            return part
        return F.interpolate(part, (self.seen, self.seen), mode="bilinear", antialias=self.side > self.seen)

    def cells(self, labels: Tensor) -> Tensor:
        """Sample labels (B, h, w) of 4 px cells at the middles of the critic's places."""
        count = self.seen // CELL_PX
        along = (torch.arange(count) + 0.5) * self.side / count
        rows, columns = ((start + along).long() // CELL_PX for start in (self.y, self.x))
        return labels[:, rows][:, :, columns]


MARGIN_PX = 8  # crop border left unjudged: the painter does not see what is beyond it
SEEN_PX = 112
PIXEL_WINDOW_PX = 64


def feature_window(crop_px: int, rng: np.random.Generator) -> Window:
    """Draw a random window of half to twice the size that it is resized to, inside the crop's border.

    Magnification and offset are random each time: a critic with fixed strides would cause a grid pattern.
    """
    room = crop_px - 2 * MARGIN_PX
    seen = min(SEEN_PX, room // 16 * 16)
    least, most = seen // 2, min(2 * seen, room)
    side = round(math.exp(rng.uniform(math.log(least), math.log(most))))
    if rng.random() < 0.4:
        side = seen
    y, x = (int(MARGIN_PX + rng.integers(room - side + 1)) for _ in range(2))
    return Window(y, x, side, seen)


def pixel_window(crop_px: int, rng: np.random.Generator) -> Window:
    side = min(PIXEL_WINDOW_PX, (crop_px - 2 * MARGIN_PX) // CELL_PX * CELL_PX)
    y, x = (int(MARGIN_PX + rng.integers(crop_px - 2 * MARGIN_PX - side + 1)) for _ in range(2))
    return Window(y, x, side, side)


class Finish:
    """Painter, critics and their optimizers, with a training step for both. `parts` is saved by the run."""

    def __init__(self, flow: MaterialFlow, recipe: Recipe, teacher: MaterialFlow | None = None):
        """teacher: a finished painter whose pictures `flow` learns to reproduce from the same noise."""
        self.recipe, self.teacher = recipe, teacher
        self.flow = channels_last(flow).requires_grad_(True)
        self.average = deepcopy(self.flow).requires_grad_(False)
        self.look = feature_network.load()
        self.feature_critic = channels_last(FeatureCritic())
        self.pixel_critic = channels_last(PixelCritic())
        self.weights = ClassWeights()
        critics = [*self.feature_critic.parameters(), *self.pixel_critic.parameters()]
        self.optimizer = torch.optim.Adam(self.flow.parameters(), betas=(0.0, 0.99), fused=True)
        self.critic_optimizer = torch.optim.Adam(critics, betas=(0.0, 0.99), fused=True)
        self.parts: dict[str, torch.nn.Module | torch.optim.Optimizer] = {
            "network": self.flow,
            "average": self.average,
            "optimizer": self.optimizer,
            "feature_critic": self.feature_critic,
            "pixel_critic": self.pixel_critic,
            "critic_optimizer": self.critic_optimizer,
            "weights": self.weights,
        }

    def step(self, batch: Batch, *, step: int, total: int, rng: np.random.Generator) -> dict[str, float]:
        """Train critics and painter on one batch; return the losses."""
        recipe, done = self.recipe, step / total
        scale = min(1, (step + 1) / recipe.warm_up) * min(
            1, max(recipe.floor, (1 - done) / (1 - recipe.fall_from))
        )
        set_rate(self.optimizer, recipe.rate * scale)
        set_rate(self.critic_optimizer, recipe.critic_rate * scale)
        weights = self.weights.update(batch.labels)
        made, first = self.paint(batch.condition, rng)
        crop_px = batch.picture.shape[2]
        whole, near = feature_window(crop_px, rng), pixel_window(crop_px, rng)
        with autocast():
            with torch.no_grad():
                real = self.look(whole.pixels(batch.picture))
            seen = self.look(whole.pixels(made))
        noted = self.teach_critics(
            batch,
            made,
            real,
            seen,
            whole,
            near,
            weights,
            damped=done > recipe.damp_from and step % recipe.damp_every == 0,
        )
        losses = self.judge(batch, made, seen, whole, near, weights)
        losses["critic"] = losses["critic"] * recipe.critic * min(1, step / recipe.critic_ramp)
        losses["features"] = recipe.features * feature_mean_loss(seen, real)
        if first is None:
            bound = anchor_weights(batch.labels, batch.wanted, batch.condition.means[:, 3:])
            losses["anchor"] = recipe.anchor * anchor_loss(made, batch.picture, bound)
        else:
            bound = torch.ones_like(batch.condition.means[:, 3:])
            losses["agreement"] = recipe.agreement * anchor_loss(made, first, bound)
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        self.optimizer.step()
        follow(self.average, self.flow, recipe.average, step)
        return noted | {name: loss.item() for name, loss in losses.items()}

    def paint(self, condition: MaterialCondition, rng: np.random.Generator) -> tuple[Tensor, Tensor | None]:
        """Render a picture with gradients, in one step or at a time visited by two or four steps.

        With more than one step, also returns the average's one-step picture, which fixes the layout; with a
        teacher, the teacher's picture.
        """
        if rng.random() < self.recipe.one_step:
            with torch.no_grad():
                first = self.teacher.one_step(condition) if self.teacher else None
            return self.flow.one_step(condition), first
        steps = int(rng.choice((2, 4)))
        index = int(rng.integers(steps))
        ones = torch.ones_like(condition.strength)
        residual = self.flow.start(condition)
        with torch.no_grad():
            first = (self.teacher or self.average).one_step(condition)
            for done in range(index):
                end = self.flow.predict(residual, condition, ones * (1 - done / steps), ones / steps)
                residual = residual + (end - residual) / (steps - done)
        end = self.flow.predict(residual, condition, ones * (1 - index / steps), ones / steps)
        return self.flow.picture(end, condition), first

    def teach_critics(
        self,
        batch: Batch,
        made: Tensor,
        real: list[Tensor],
        seen: list[Tensor],
        whole: Window,
        near: Window,
        weights: Tensor,
        *,
        damped: bool,
    ) -> dict[str, float]:
        """Train both critics for one step; return their losses."""
        look, recipe = batch.condition.look, self.recipe
        pixels = near.pixels(batch.picture)
        with autocast():
            of_real = self.feature_critic(real, look)
            of_made = self.feature_critic([x.detach() for x in seen], look)
            near_real = self.pixel_critic(pixels, look)
            near_made = self.pixel_critic(near.pixels(made.detach()), look)
        on_features = critic_loss(of_real, of_made, whole.cells(batch.labels), weights)
        on_pixels = critic_loss(near_real, near_made, near.cells(batch.labels), weights)
        loss = on_features + recipe.pixel_share * on_pixels
        noted = {"judged": on_features.item(), "judged_near": on_pixels.item()}
        if damped:
            amount = recipe.deviation
            with autocast():
                moved = [x + amount * x.std() * torch.randn_like(x) for x in real]
                shaken = pixels + amount * torch.randn_like(pixels)
                far = damping(of_real, self.feature_critic(moved, look), amount)
                close = damping(near_real, self.pixel_critic(shaken, look), amount)
            loss = loss + recipe.damp * recipe.damp_every * (far + close)
            noted["damped"] = far.item()
        self.critic_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.critic_optimizer.step()
        return noted

    def judge(
        self, batch: Batch, made: Tensor, seen: list[Tensor], whole: Window, near: Window, weights: Tensor
    ) -> dict[str, Tensor]:
        """Return the painter's critic losses, without gradients to the critics."""
        critics = (self.feature_critic, self.pixel_critic)
        for critic in critics:
            critic.requires_grad_(False)
        look = batch.condition.look
        with autocast():
            far = painter_loss(self.feature_critic(seen, look), whole.cells(batch.wanted), weights)
            close = painter_loss(
                self.pixel_critic(near.pixels(made), look), near.cells(batch.wanted), weights
            )
        for critic in critics:
            critic.requires_grad_(True)
        return {"critic": far + self.recipe.pixel_share * close}


def train(
    draw: Draw,
    flow: MaterialFlow,
    folder: Path,
    *,
    steps: int,
    batch_size: int,
    recipe: Recipe | None = None,
    teacher: MaterialFlow | None = None,
    show: Show | None = None,
    name: str = "painter",
    seed: int = 0,
) -> MaterialFlow:
    """Finish `flow`; return the average of its weights and write `name`.safetensors in `folder`.

    draw: returns `batch_size` samples for a random generator. show: draws the grid written at each save of
    the run. A stopped run resumes with the same batches.
    """
    finish = Finish(flow, recipe or Recipe(), teacher)
    run = Run(folder, finish.parts, steps, batch_size)
    ahead = Prefetcher(draw, seed=seed, first=run.step)

    def keep(done: int) -> None:
        write(finish.average, folder / f"{name}.safetensors")
        if show:
            show(finish.average, folder / f"grid-{done:07d}.jpg")

    try:
        for step in run.steps(keep):
            rng = np.random.default_rng([seed, step, 1])
            run.note(**finish.step(to_batch(ahead.take()), step=step, total=steps, rng=rng))
    finally:
        ahead.close()
    write(finish.average, folder / f"{name}.safetensors")
    return finish.average


def write(flow: MaterialFlow, path: Path) -> None:
    """Write the weights as bf16 with their config."""
    save(path, flow.network.state_dict(), flow.network.config.as_dict(), dtype=torch.bfloat16)
