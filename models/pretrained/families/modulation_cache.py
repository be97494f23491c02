"""Cache of the timestep and prompt modulations of a transformer.

The time embedding and the modulations of all blocks at one step form a row. The row is an input of the frame,
like the latent. So are the projected prompt embedding and the cosines and sines of rotary attention: a graph
contains nothing of a prompt, a time or an adapter. At a time without a row the model computes all of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.pretrained.components.prompt_cache import Condition
from models.pretrained.families.base import Family, Size
from models.pretrained.fusion import patching

ALIGNED_BYTES = 16  # keeps the kernels' loads from a row wide


class Row(threading.local):
    """Row of the running step, one per thread: a graph can be captured while frames are rendered."""

    values: Tensor | None = None


class Modulations:
    """Modulations of all fused blocks of a model, packed into rows.

    words: the layers, in sequence, that process only the prompt; while a row is read they return their input,
    which must be the output of the last of them. turns: the layer that computes cosines and sines of
    positions; while a row is read its input is both, concatenated on the last axis.
    """

    def __init__(self, model: nn.Module, words: Sequence[Any] = (), turns: Any = None):
        self.row, self.words = Row(), words
        self.blocks: list[Any] = [
            module
            for module in model.modules()
            if "fused" in vars(module)
            and type(module).__name__ in patching.MODULATIONS
            and not any(module is layer for layer in words)
        ]
        for block in self.blocks:
            block.fused.row = self.row
        for layer in words:
            hand_on(layer, self.row)
        if turns is not None:
            hand_on(turns, self.row, lambda both: both.chunk(2, dim=-1))

    @torch.no_grad()
    def make(self, embedding: Tensor | tuple[Tensor, ...]) -> Tensor:
        """Compute the row of all modulations, (bytes,) uint8, from the embedding of time and prompt."""
        parts, begin = [], 0
        for block in self.blocks:
            places = []
            for part in patching.MODULATIONS[type(block).__name__](block, embedding):
                data = part.contiguous().view(torch.uint8).flatten()
                places.append((slice(begin, begin + len(data)), part.dtype, part.shape))
                parts.append(F.pad(data, (0, -len(data) % ALIGNED_BYTES)))
                begin += len(parts[-1])
            block.fused.places = places  # set at once: another thread may be running the block
        return torch.cat(parts)

    @contextmanager
    def read(self, row: Tensor | None) -> Iterator[None]:
        """Context in which blocks read their modulations from `row`; with None they compute them."""
        self.row.values = row
        try:
            yield
        finally:
            self.row.values = None


def hand_on(layer: Any, row: Row, finish: Callable = lambda x: x) -> None:
    """Make a layer return `finish(input)` while a row is read. `patching.restore` undoes this."""
    fused = vars(layer).get("forward")

    def forward(layer: Any, x, *rest, **named):
        if row.values is not None:
            return finish(x)
        return fused(x, *rest, **named) if fused else type(layer).forward(layer, x, *rest, **named)

    patching.cover(layer, forward)
    if "fused" not in vars(layer):
        layer.fused = SimpleNamespace()


class Modulated(Family):
    """Flow model whose network is a transformer modulated by time."""

    modulations: Modulations | None = None
    words = "encoder_hidden_states"  # the network's argument for the prompt embedding

    def ready(self, whole: bool) -> None:
        self.rows: dict[tuple[int, float], Tensor] = {}
        self.known: dict[int, dict[str, Tensor]] = {}  # by prompt: precomputed inputs that replace its own
        if whole:
            patching.install_fused_passes(self.network)
            self.modulations = Modulations(self.network, self.readers(), self.turner())

    def readers(self) -> list[Any]:
        """Layers that process only the prompt, in order."""
        return [self.network.context_embedder]

    def turner(self) -> Any:
        """Layer that computes rotary cosines and sines, if `read_places` precomputes them; else None."""
        return None

    def read_places(self, told: dict[str, Tensor], size: Size) -> dict[str, Tensor]:
        """Concatenated rotary cosines and sines, by the names of the network's position arguments."""
        return {}

    def read_words(self, words: Tensor) -> Tensor:
        """Prompt embedding as the blocks take it."""
        for layer in self.readers():
            words = layer(words)
        return words

    def told_time(self, t: float) -> float:
        """Value of the network's time argument for time t."""
        return t

    def embedding(self, moment: Tensor, **told: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Embedding that the network passes to its blocks or to their shared modulations."""
        raise NotImplementedError

    def velocity(self, *args: Any, **told: Any) -> Tensor:
        """Output of the network, float32."""
        raise NotImplementedError

    def prepare(self, condition: Condition, times: tuple[float, ...], size: Size) -> None:
        if self.modulations is None or not self.modulations.blocks:
            return
        prompts = (condition.tensors, condition.unprompted) if self.guided else (condition.tensors,)
        self.known = {
            id(told): {self.words: self.read_words(told[self.words]), **self.read_places(told, size)}
            for told in prompts
        }
        self.rows = {
            (id(told), t): self.modulations.make(self.embedding(self.moment(self.told_time(t)), **told))
            for told in prompts
            for t in times
        }

    def asked(self, x: Tensor, t: float, told: dict[str, Tensor]) -> Tensor:
        row = self.rows.get((id(told), t))
        if row is not None:
            told = {**told, **self.known[id(told)], "modulations": row}
        return self.run("forward", x=x, moment=self.moment(self.told_time(t)), **told)

    def forward(self, x: Tensor, moment: Tensor, modulations: Tensor | None = None, **told: Tensor) -> Tensor:
        if modulations is None or self.modulations is None:
            return self.velocity(x, moment, **told)
        with self.modulations.read(modulations):
            return self.velocity(x, moment, **told)
