"""The painter's frames on CUDA: one graph a size and number of steps, pinned buffers at both ends."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from models.graphs import FrameGraphs, HostBuffers

Frame = Callable[..., Tensor]


class GraphedFrames:
    """Runs `Body.frame` by its graph, eagerly while there is none, and copies pictures out with one wait."""

    def __init__(self, frame: Frame, device: torch.device, **graphs):
        """graphs: capture and spawn of FrameGraphs, where others than CUDA's and a thread are wanted."""
        self.device = device
        self.graphs = FrameGraphs(lambda key: frame, **graphs)
        self._ends: dict[tuple[int, int], tuple[HostBuffers, Tensor, HostBuffers]] = {}

    @property
    def why_eager(self) -> str:
        return self.graphs.why_eager

    def render(self, planes: np.ndarray, noise: Tensor, share: Tensor, biases: Tensor) -> np.ndarray:
        """planes: (4, H, W) uint8. Returns the bytes of `Body.frame` on the host."""
        size = planes.shape[1:]
        if size not in self._ends:
            self._ends = {size: self._make_ends(*size)}  # one size at a time is painted at
        entry, target, out = self._ends[size]
        entry.upload(planes, target)
        made = self.graphs.run((*size, len(biases)), planes=target, noise=noise, share=share, biases=biases)
        return out.download(made)

    def _make_ends(self, height: int, width: int) -> tuple[HostBuffers, Tensor, HostBuffers]:
        buffers = partial(HostBuffers, dtype=torch.uint8, device=self.device)
        target = torch.empty((4, height, width), dtype=torch.uint8, device=self.device)
        return buffers((4, height, width)), target, buffers((3 * height * width + 1,))
