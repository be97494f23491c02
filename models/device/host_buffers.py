"""Arrays to the GPU and back through pinned memory, with one wait a frame."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class HostBuffers:
    """Two pinned buffers in host memory that take turns, so that copies run beside the work.

    shape, dtype: of the arrays. Elsewhere than on CUDA the buffers are ordinary memory and nothing waits.
    """

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device | str):
        self.device = torch.device(device)
        cuda = self.device.type == "cuda"
        self.buffers = [torch.empty(shape, dtype=dtype, pin_memory=cuda) for _ in range(2)]
        self.events = [torch.cuda.Event() if cuda else None for _ in range(2)]
        self.turn = 0

    def upload(self, array: np.ndarray, target: Tensor) -> Tensor:
        """Copy an array, which may be read-only, into a tensor of the device without waiting; returns it."""
        buffer, event = self._next()
        np.copyto(buffer.numpy(), array)
        target.copy_(buffer, non_blocking=True)
        self._record(event)
        return target

    def download(self, source: Tensor) -> np.ndarray:
        """The tensor's values as an array of its own. This is the frame's one wait for the device."""
        buffer, event = self._next()
        buffer.copy_(source, non_blocking=True)
        self._record(event)
        if event is not None:
            event.synchronize()
        return buffer.numpy().copy()

    def _next(self) -> tuple[Tensor, torch.cuda.Event | None]:
        """The buffer whose turn it is, once the copy that used it last is done."""
        self.turn = 1 - self.turn
        event = self.events[self.turn]
        if event is not None:
            event.synchronize()
        return self.buffers[self.turn], event

    def _record(self, event: torch.cuda.Event | None) -> None:
        if event is not None:
            event.record(torch.cuda.current_stream(self.device))


class HostTransfer:
    """Arrays to the device and back; buffers are made anew where a shape changes."""

    def __init__(self, device: torch.device):
        self.device = device
        self._to_device: tuple[HostBuffers, Tensor] | None = None
        self._to_host: HostBuffers | None = None

    def upload(self, array: np.ndarray) -> Tensor:
        """(...) uint8 -> the same on the device; the tensor is written again with the next upload."""
        if self._to_device is None or self._to_device[1].shape != array.shape:
            target = torch.empty(array.shape, dtype=torch.uint8, device=self.device)
            self._to_device = HostBuffers(array.shape, torch.uint8, self.device), target
        buffers, target = self._to_device
        return buffers.upload(array, target)

    def download(self, made: Tensor) -> np.ndarray:
        if self._to_host is None or self._to_host.buffers[0].shape != made.shape:
            self._to_host = HostBuffers(tuple(made.shape), made.dtype, self.device)
        return self._to_host.download(made)
