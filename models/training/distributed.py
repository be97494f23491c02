"""Data-parallel training: communication between workers. Without a process group there is one worker.

Every worker takes the same steps on its own batches; gradients are averaged (Li et al. 2020, PyTorch
Distributed), so N workers train like one with N times the batch size.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def workers() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if workers() > 1 else 0


def is_main() -> bool:
    """Return whether this worker writes checkpoints, logs and grids."""
    return rank() == 0


def backward(loss: Tensor, parameters: Iterable[nn.Parameter]) -> None:
    """Call loss.backward(), then average the gradients of all workers in one message."""
    loss.backward()
    if workers() == 1:
        return
    trained = [each for each in parameters if each.requires_grad]
    for each in trained:
        if each.grad is None:
            each.grad = torch.zeros_like(each)
    gradients = [each.grad for each in trained if each.grad is not None]
    together = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(together)
    together /= workers()
    for gradient, part in zip(gradients, together.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def agreed(value: Tensor) -> Tensor:
    """Broadcast the first worker's value, for choices that decide which gradients exist."""
    if workers() > 1:
        dist.broadcast(value, 0)
    return value


def share(state: dict[str, Any]) -> dict[str, Any]:
    """Broadcast the first worker's state."""
    if workers() == 1:
        return state
    box = [state]
    dist.broadcast_object_list(box, 0)
    return box[0]


def seed_apart(step: int) -> None:
    """Give every worker but the first its own random seed; the first resumes from its checkpoint."""
    if not is_main():
        torch.manual_seed(1_000_003 * rank() + step)
