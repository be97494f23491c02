"""Frames and parts of frames that run by CUDA graphs, with pinned buffers at both ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from models.device.cuda_graphs import FrameGraphs, described
from models.device.host_buffers import HostTransfer

Frame = Callable[..., Tensor]


class GraphedFrames:
    """The painter's frames: runs `Body.frame` by its graph, eagerly while there is none."""

    def __init__(self, frame: Frame, device: torch.device, **graphs):
        """graphs: arguments of FrameGraphs, such as another capture than CUDA's."""
        self.graphs = FrameGraphs(lambda key: frame, **graphs)
        self.transfer = HostTransfer(device)

    @property
    def why_eager(self) -> str:
        return self.graphs.why_eager

    def rest(self) -> bool:
        """See FrameGraphs.rest."""
        return self.graphs.rest()

    def render(
        self,
        planes: np.ndarray,
        noise: Tensor,
        share: Tensor,
        biases: Sequence[Tensor],
        lap: Callable[[str], None],
    ) -> np.ndarray:
        """The bytes of `Body.frame`, on the host.

        planes: (4, H, W) uint8. biases: a row for each step. lap: called when the work is launched.
        """
        inputs = {"planes": self.transfer.upload(planes), "noise": noise, "share": share}
        inputs["biases"] = torch.stack(tuple(biases))
        made = self.graphs.run((*planes.shape[1:], len(biases)), **inputs)
        lap("denoise")
        return self.transfer.download(made)


class GraphedParts:
    """Named parts of a frame, each by a graph for every set of input shapes it meets.

    A part must be a pure function of its tensors, and of what lies in fixed memory while `version` stays.
    """

    def __init__(self, parts: dict[str, Frame], device: torch.device, **graphs):
        # keys: (name, version, shapes)
        self.graphs = FrameGraphs(lambda key: parts[key[0]], max_graphs=4 * len(parts), **graphs)
        self.transfer = HostTransfer(device)
        self._why: dict[str, str] = {}

    def run(self, name: str, version: int, inputs: dict[str, Tensor]) -> Tensor:
        """The result lies in the graph's own memory until the next run of this part."""
        key = (name, version, tuple(described(inputs).items()))
        # a graph captured now reads what lies there now: it would be wrong for an older version
        self.graphs.forget_wanted(lambda other: other[0] == name and other[1] != version)
        made = self.graphs.run(key, **inputs)
        self._why[name] = self.graphs.why_eager
        return made

    @property
    def why_eager(self) -> str:
        """Why a part of the last frame ran eagerly; empty where none did."""
        return next((f"{name}: {why}" for name, why in self._why.items() if why), "")

    def rest(self) -> bool:
        """See FrameGraphs.rest."""
        return self.graphs.rest()

    def invalidate(self) -> None:
        self.graphs.invalidate()
