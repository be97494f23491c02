"""Modulations of a transformer's blocks, made once for each prompt and timestep.

Those of a step are a row, and that is an input of the frame, like its latent: nothing of a prompt, a time or
an adapter is frozen into a graph. At a time that no row was made for, blocks make their modulations.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.pretrained import folds, surgery
from models.pretrained.family import Family, Size
from models.pretrained.folds import Saving
from models.pretrained.prompts import Condition

ALIGNED_BYTES = 16  # so that the kernels' loads from a row stay wide


class Row(threading.local):
    """The row of the step that runs, one for each thread: a graph is captured beside what is served."""

    values: Tensor | None = None


class Modulations:
    """Those of all fused blocks of a model."""

    def __init__(self, model: nn.Module):
        self.row = Row()
        self.blocks = [module for module in model.modules() if "fused" in vars(module)]
        self.blocks = [block for block in self.blocks if type(block).__name__ in surgery.MODULATIONS]
        for block in self.blocks:
            block.fused.row = self.row

    @torch.no_grad()
    def make(self, embedding: Tensor) -> Tensor:
        """(bytes,) uint8 row of all modulations. embedding: what the model makes of time and prompt."""
        parts, begin = [], 0
        for block in self.blocks:
            made, block.fused.places = surgery.MODULATIONS[type(block).__name__][0](block, embedding), []
            for part in made:
                data = part.contiguous().view(torch.uint8).flatten()
                block.fused.places.append((slice(begin, begin + len(data)), part.dtype, part.shape))
                parts.append(F.pad(data, (0, -len(data) % ALIGNED_BYTES)))
                begin += len(parts[-1])
        return torch.cat(parts)

    @contextmanager
    def read(self, row: Tensor | None) -> Iterator[None]:
        """Inside, blocks take their modulations from this row; from none, they make them."""
        self.row.values = row
        try:
            yield
        finally:
            self.row.values = None

    @property
    def saving(self) -> Saving:
        """The product of each layer that a frame no longer asks; the small ops around it are not counted."""
        saved = Saving()
        for block in self.blocks:
            for layer in surgery.MODULATIONS[type(block).__name__][1](block):
                flops = sum(2 * weight.numel() for weight in layer.parameters() if weight.dim() == 2)
                saved += Saving(flops, folds.weights_of(layer), 1)
        return saved


class Modulated(Family):
    """A flow whose network is a transformer that time modulates."""

    modulations: Modulations | None = None

    def ready(self, whole: bool) -> None:
        self.rows: dict[tuple[int, float], Tensor] = {}
        if whole:
            surgery.operate(self.network)
            self.modulations = Modulations(self.network)

    def told_time(self, t: float) -> float:
        """What the network is told for time t."""
        return t

    def embedding(self, moment: Tensor, **told: Tensor) -> Tensor:
        """What the network hands to its blocks, or to the modulations that they share."""
        raise NotImplementedError

    def velocity(self, x: Tensor, moment: Tensor, **told: Tensor) -> Tensor:
        """The network's answer, float32."""
        raise NotImplementedError

    def prepare(self, condition: Condition, times: tuple[float, ...], size: Size) -> None:
        if self.modulations is None or not self.modulations.blocks:
            return
        prompts = (condition.tensors, condition.negative) if self.guided else (condition.tensors,)
        self.rows = {
            (id(told), t): self.modulations.make(self.embedding(self.moment(self.told_time(t)), **told))
            for told in prompts
            for t in times
        }

    def asked(self, x: Tensor, t: float, told: dict[str, Tensor]) -> Tensor:
        row = self.rows.get((id(told), t))
        folded = {} if row is None else {"modulations": row}
        return self.run("forward", x=x, moment=self.moment(self.told_time(t)), **folded, **told)

    def forward(self, x: Tensor, moment: Tensor, modulations: Tensor | None = None, **told: Tensor) -> Tensor:
        if modulations is None:
            return self.velocity(x, moment, **told)
        with self.modulations.read(modulations):
            return self.velocity(x, moment, **told)
