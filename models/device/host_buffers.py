"""Copy arrays to the GPU and back through pinned memory, with one wait per frame."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class HostBuffers:
    """Two alternating pinned host buffers, so that copies run in parallel with the GPU's work.

    shape, dtype: of the arrays. On other devices than CUDA the buffers are ordinary memory and nothing waits.
    """

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device | str):
        self.device = torch.device(device)
        cuda = self.device.type == "cuda"
        self.buffers = [torch.empty(shape, dtype=dtype, pin_memory=cuda) for _ in range(2)]
        self.events = [torch.cuda.Event() if cuda else None for _ in range(2)]
        self.turn = 0

    def upload(self, array: np.ndarray, target: Tensor) -> Tensor:
        """Copy an array, which may be read-only, into a device tensor without waiting; return the tensor."""
        buffer, event = self._next()
        np.copyto(buffer.numpy(), array)
        target.copy_(buffer, non_blocking=True)
        self._record(event)
        return target

    def download(self, source: Tensor) -> np.ndarray:
        """Return the tensor's values as a new array. This is the frame's only wait for the device."""
        buffer, event = self._next()
        buffer.copy_(source, non_blocking=True)
        self._record(event)
        if event is not None:
            event.synchronize()
        return buffer.numpy().copy()

    def _next(self) -> tuple[Tensor, torch.cuda.Event | None]:
        """Return the next buffer, once the copy that used it last is done."""
        self.turn = 1 - self.turn
        event = self.events[self.turn]
        if event is not None:
            event.synchronize()
        return self.buffers[self.turn], event

    def _record(self, event: torch.cuda.Event | None) -> None:
        if event is not None:
            event.record(torch.cuda.current_stream(self.device))


class HostTransfer:
    """Copy arrays to the device and back; reallocates its buffers when a shape changes."""

    def __init__(self, device: torch.device):
        self.device = device
        self._to_device: tuple[HostBuffers, Tensor] | None = None
        self._to_host: HostBuffers | None = None

    def upload(self, array: np.ndarray) -> Tensor:
        """(...) uint8 -> the same on the device; the next upload overwrites the tensor."""
        if self._to_device is None or self._to_device[1].shape != array.shape:
            target = torch.empty(array.shape, dtype=torch.uint8, device=self.device)
            self._to_device = HostBuffers(array.shape, torch.uint8, self.device), target
        buffers, target = self._to_device
        return buffers.upload(array, target)

    def download(self, made: Tensor) -> np.ndarray:
        if self._to_host is None or self._to_host.buffers[0].shape != made.shape:
            self._to_host = HostBuffers(tuple(made.shape), made.dtype, self.device)
        return self._to_host.download(made)
