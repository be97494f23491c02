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
    """Render the painter's frames: `PackedNetwork.frame` by its CUDA graph, or eagerly until there is one."""

    def __init__(self, frame: Frame, device: torch.device, **graphs):
        """graphs: arguments of FrameGraphs, such as a replacement for the CUDA capture."""
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
        """Return the bytes of `PackedNetwork.frame`, on the host.

        planes: (4, H, W) uint8. biases: one row for each step. lap: called when the work is launched.
        """
        inputs = {"planes": self.transfer.upload(planes), "noise": noise, "share": share}
        inputs["biases"] = torch.stack(tuple(biases))
        made = self.graphs.run((*planes.shape[1:], len(biases)), **inputs)
        lap("denoise")
        return self.transfer.download(made)


class GraphedParts:
    """Run named parts of a frame, each by a CUDA graph for every set of input shapes.

    A part must be a pure function of its tensors, and of memory that does not change while `version` is the
    same.
    """

    def __init__(self, parts: dict[str, Frame], device: torch.device, **graphs):
        # keys: (name, version, shapes)
        self.graphs = FrameGraphs(lambda key: parts[key[0]], max_graphs=4 * len(parts), **graphs)
        self.transfer = HostTransfer(device)
        self._why: dict[str, str] = {}

    def run(self, name: str, version: int, inputs: dict[str, Tensor]) -> Tensor:
        """Run a part by its graph or eagerly. The next run of this part overwrites the result."""
        key = (name, version, tuple(described(inputs).items()))
        # a capture reads the current contents of that memory, so it is wrong for an older version
        self.graphs.forget_wanted(lambda other: other[0] == name and other[1] != version)
        made = self.graphs.run(key, **inputs)
        self._why[name] = self.graphs.why_eager
        return made

    @property
    def why_eager(self) -> str:
        """Why a part of the last frame ran eagerly; empty where all ran by graphs."""
        return next((f"{name}: {why}" for name, why in self._why.items() if why), "")

    def rest(self) -> bool:
        """See FrameGraphs.rest."""
        return self.graphs.rest()

    def invalidate(self) -> None:
        self.graphs.invalidate()
