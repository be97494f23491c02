"""What a transformer makes of time and prompt alone, made once for each of them.

The embedding of time and the modulations of all blocks at a step are a row. That is an input of the frame,
like its latent, and so are the words as the blocks know them and the turns of rotary attention: nothing of a
prompt, a time or an adapter is frozen into a graph. At a time that no row was made for, the model makes all
of it.
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

ALIGNED_BYTES = 16  # so that the kernels' loads from a row stay wide


class Row(threading.local):
    """The row of the step that runs, one for each thread: a graph is captured beside what is served."""

    values: Tensor | None = None


class Modulations:
    """Those of all fused blocks of a model.

    words: the layers that the prompt alone goes through, one after another; where a row is read, they hand
    on what they are given, which must be what comes out of the last. turns: the layer that makes cosines and
    sines of places; it is given both in one there.
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
        """(bytes,) uint8 row of all modulations. embedding: what the model makes of time and prompt."""
        parts, begin = [], 0
        for block in self.blocks:
            places = []
            for part in patching.MODULATIONS[type(block).__name__](block, embedding):
                data = part.contiguous().view(torch.uint8).flatten()
                places.append((slice(begin, begin + len(data)), part.dtype, part.shape))
                parts.append(F.pad(data, (0, -len(data) % ALIGNED_BYTES)))
                begin += len(parts[-1])
            block.fused.places = places  # whole: another thread may be running the block
        return torch.cat(parts)

    @contextmanager
    def read(self, row: Tensor | None) -> Iterator[None]:
        """Inside, blocks take their modulations from this row; from none, they make them."""
        self.row.values = row
        try:
            yield
        finally:
            self.row.values = None


def hand_on(layer: Any, row: Row, finish: Callable = lambda x: x) -> None:
    """Have a layer finish its input, no more, wherever a row is read. `patching.restore` takes it back."""
    fused = vars(layer).get("forward")

    def forward(layer: Any, x, *rest, **named):
        if row.values is not None:
            return finish(x)
        return fused(x, *rest, **named) if fused else type(layer).forward(layer, x, *rest, **named)

    patching.cover(layer, forward)
    if "fused" not in vars(layer):
        layer.fused = SimpleNamespace()


class Modulated(Family):
    """A flow whose network is a transformer that time modulates."""

    modulations: Modulations | None = None
    words = "encoder_hidden_states"  # what the network calls the prompt's embedding

    def ready(self, whole: bool) -> None:
        self.rows: dict[tuple[int, float], Tensor] = {}
        self.known: dict[int, dict[str, Tensor]] = {}  # what is told of a prompt in place of its own
        if whole:
            patching.operate(self.network)
            self.modulations = Modulations(self.network, self.readers(), self.turner())

    def readers(self) -> list[Any]:
        """The layers that words alone go through, in order."""
        return [self.network.context_embedder]

    def turner(self) -> Any:
        """The layer that makes turns of places, if `read_places` folds it."""
        return None

    def read_places(self, told: dict[str, Tensor], size: Size) -> dict[str, Tensor]:
        """Turns by the names of the network's places: cosines and sines side by side."""
        return {}

    def read_words(self, words: Tensor) -> Tensor:
        """Words as the blocks know them."""
        for layer in self.readers():
            words = layer(words)
        return words

    def told_time(self, t: float) -> float:
        """What the network is told for time t."""
        return t

    def embedding(self, moment: Tensor, **told: Tensor) -> Tensor | tuple[Tensor, ...]:
        """What the network hands to its blocks, or to the modulations that they share."""
        raise NotImplementedError

    def velocity(self, *args: Any, **told: Any) -> Tensor:
        """The network's answer, float32."""
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
