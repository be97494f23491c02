"""A frame's way over CUDA: graphs for its work, pinned buffers at both ends."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from models.device.cuda_graphs import FrameGraphs, HostBuffers, described

Frame = Callable[..., Tensor]


class Ends:
    """Arrays to the device and back, one wait a frame; buffers are made anew where a shape changes."""

    def __init__(self, device: torch.device):
        self.device = device
        self._entry: tuple[HostBuffers, Tensor] | None = None
        self._exit: HostBuffers | None = None

    def upload(self, array: np.ndarray) -> Tensor:
        """(...) uint8 -> the same on the device; the tensor is written again with the next upload."""
        if self._entry is None or self._entry[1].shape != array.shape:
            target = torch.empty(array.shape, dtype=torch.uint8, device=self.device)
            self._entry = HostBuffers(array.shape, torch.uint8, self.device), target
        buffers, target = self._entry
        return buffers.upload(array, target)

    def download(self, made: Tensor) -> np.ndarray:
        if self._exit is None or self._exit.places[0].shape != made.shape:
            self._exit = HostBuffers(tuple(made.shape), made.dtype, self.device)
        return self._exit.download(made)


class GraphedFrames:
    """The painter's: runs `Body.frame` by its graph, eagerly while there is none."""

    def __init__(self, frame: Frame, device: torch.device, **graphs):
        """graphs: capture and spawn of FrameGraphs, where others than CUDA's and a thread are wanted."""
        self.graphs = FrameGraphs(lambda key: frame, **graphs)
        self.ends = Ends(device)

    @property
    def why_eager(self) -> str:
        return self.graphs.why_eager

    def render(
        self, planes: np.ndarray, noise: Tensor, share: Tensor, biases: Tensor, lap: Callable[[str], None]
    ) -> np.ndarray:
        """planes: (4, H, W) uint8. Returns the bytes of `Body.frame` on the host; lap: told of "denoise"."""
        inputs = {"planes": self.ends.upload(planes), "noise": noise, "share": share, "biases": biases}
        made = self.graphs.run((*planes.shape[1:], len(biases)), **inputs)
        lap("denoise")
        return self.ends.download(made)


class GraphedParts:
    """Named parts of a frame, each by a graph for every set of input shapes it meets.

    A part must be a pure function of its tensors, and of what lies at fixed places while `version` stays.
    """

    def __init__(self, parts: dict[str, Frame], device: torch.device, **graphs):
        self.graphs = FrameGraphs(lambda key: parts[key[0]], max_graphs=4 * len(parts), **graphs)
        self.ends = Ends(device)
        self._why: dict[str, str] = {}

    def run(self, name: str, version: int, inputs: dict[str, Tensor]) -> Tensor:
        """The result lies in the graph's own place until the next run of this part."""
        key = (name, version, tuple(described(inputs).items()))
        made = self.graphs.run(key, **inputs)
        self._why[name] = self.graphs.why_eager
        return made

    @property
    def why_eager(self) -> str:
        """Why a part of the last frame ran eagerly; empty where none did."""
        return next((f"{name}: {why}" for name, why in self._why.items() if why), "")

    def invalidate(self) -> None:
        self.graphs.invalidate()
