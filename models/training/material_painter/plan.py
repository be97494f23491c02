"""Training of the plan network on partly hidden material maps; the best of several guesses is trained."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models import checkpoint
from models.api import MATERIALS, ModelError
from models.painter.materials.condition import MATERIAL_CHANNELS
from models.painter.materials.noise import LEVEL_CHANNELS
from models.painter.materials.plan import PlanConfig, PlanNetwork
from models.training import distributed
from models.training.data.labelled_pictures import LabelledPicture
from models.training.data.labelled_views import LabelledView
from models.training.run import Run, follow, learning_rate, set_rate

RATE, EMA_DECAY = 2e-3, 0.998
GUESSES = 4
SIDE = 16  # places of 32 px, for a paper of 512 px
BLANK_SHARE = 0.2  # share of maps that are hidden completely


def label_maps(sources: Sequence[LabelledView | LabelledPicture]) -> np.ndarray:
    """Return (N, SIDE, SIDE, 13) float32: shares of labels, 0 unknown, at 1/32 scale."""
    found = []
    for source in sources:
        height, width = source.labels.shape
        side = min(height, width)
        for x in {0, (width - side) // 2, width - side}:
            square = source.labels[(height - side) // 2 :, x:][:side, :side]
            shares = [
                cv2.resize((square == label).astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
                for label in range(MATERIAL_CHANNELS)
            ]
            found.append(np.stack(shares, -1))
    return np.stack(found)


def hidden(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return random masks (count, SIDE, SIDE) float32, 1 where painted: a side, blobs, bands, or nothing."""
    masks = np.zeros((count, SIDE, SIDE), np.float32)
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    for mask in masks:
        if rng.random() < BLANK_SHARE:
            continue
        angle, kind = rng.uniform(0, 2 * np.pi), rng.random()
        rough = cv2.resize(rng.normal(0, 1, (5, 5)).astype(np.float32), (SIDE, SIDE))
        if kind < 0.5:
            mask[:] = x * np.cos(angle) + y * np.sin(angle) + 0.3 * rough > rng.uniform(-0.6, 0.8)
        else:
            mask[:] = rough > rng.uniform(-0.5, 1.2)
        if kind > 0.8:
            mask *= rng.random((SIDE, SIDE)) > 0.3
    return masks


def train(
    sources: Sequence[LabelledView | LabelledPicture],
    folder: Path,
    *,
    steps: int,
    batch_size: int,
    config: PlanConfig | None = None,
    seed: int = 0,
) -> PlanNetwork:
    """Train and return the averaged plan network; writes plan.safetensors in `folder`."""
    maps = label_maps(sources)
    network = PlanNetwork(config)
    average = deepcopy(network).requires_grad_(False)
    optimizer = torch.optim.AdamW(network.parameters(), RATE, betas=(0.9, 0.99), weight_decay=0.01)
    parts: dict[str, torch.nn.Module | torch.optim.Optimizer]
    parts = {"network": network, "average": average, "optimizer": optimizer}
    run = Run(folder, parts, steps, batch_size)
    for step in run.steps():
        rng = np.random.default_rng([seed + 7919 * distributed.rank(), step])  # a batch per worker
        truth, painted = batch_of(maps, rng, batch_size)
        loss, guessed = best_loss(network, truth, painted)
        set_rate(optimizer, learning_rate(step, steps, RATE))
        optimizer.zero_grad(set_to_none=True)
        distributed.backward(loss, network.parameters())
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        follow(average, network, EMA_DECAY, step)
        run.note(loss=loss.item(), right=guessed)
    path = folder / "plan.safetensors"
    checkpoint.save(path, average.state_dict(), average.config.as_dict(), dtype=torch.bfloat16)
    return average


def batch_of(maps: np.ndarray, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
    """Return label shares (B, 13, SIDE, SIDE), half mirrored, and the painted mask (B, 1, SIDE, SIDE)."""
    chosen = maps[rng.integers(len(maps), size=count)]
    flipped = rng.random(count) < 0.5
    chosen[flipped] = chosen[flipped][:, :, ::-1]
    painted = torch.from_numpy(hidden(rng, count))[:, None]
    return torch.from_numpy(chosen).permute(0, 3, 1, 2).contiguous(), painted


def best_loss(network: PlanNetwork, truth: Tensor, painted: Tensor) -> tuple[Tensor, float]:
    """Return the cross entropy of the best of GUESSES completions of each map, and its accuracy."""
    count = len(truth)
    height = (torch.arange(SIDE) + 0.5).div(SIDE).view(1, 1, SIDE, 1).expand(count, 1, SIDE, SIDE)
    seen = torch.cat((truth * painted, painted, height), 1)
    noise = torch.randn(GUESSES, count, LEVEL_CHANNELS, SIDE, SIDE)
    known, target = truth[:, 1:], truth[:, 1:].argmax(1)

    def losses(given: Tensor) -> tuple[Tensor, Tensor]:
        logits = network(torch.cat((seen, given), 1))
        each = -(known * F.log_softmax(logits, 1)).sum(1)
        return each.mean((1, 2)), logits

    with torch.no_grad():
        best = torch.stack([losses(given)[0] for given in noise]).argmin(0)
    loss, logits = losses(noise[best, torch.arange(count)])
    blank = (painted[:, 0] == 0) & (known.sum(1) > 0.5)
    right = (logits.argmax(1) == target)[blank].float().mean().item() if blank.any() else 1.0
    return loss.mean(), right


def load(path: Path) -> PlanNetwork:
    """Load a plan network. Raises ModelError for weights of another network."""
    weights, config = checkpoint.load(path)
    if config.get("kind") != "plan":
        raise ModelError(f"{path} holds no weights of a plan network")
    network = PlanNetwork(PlanConfig(config["width"], tuple(config["dilations"])))
    network.load_state_dict({name: value.float() for name, value in weights.items()})
    assert network.head.out_channels == len(MATERIALS)
    return network.eval().requires_grad_(False)
