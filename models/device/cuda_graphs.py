"""A frame as one CUDA graph: static buffers, capture in the background, and the way to and from the host.

At 512x512 and batch 1 some hundreds of launches cost more than their arithmetic; a graph replays them as one.
A graph reads and writes fixed places: FrameGraphs owns them, one set for each key (size, steps, ...). While a
graph is being captured the frame runs eagerly, so a change of size never makes the pen wait.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Function = Callable[..., Tensor]
Capture = Callable[[Function, dict[str, Tensor]], tuple[Callable[[], None], Tensor]]
MAX_GRAPHS = 6  # sizes and step counts kept; each holds its activations in memory
WARM_UPS = 3  # runs before a capture: kernels compile and libraries choose algorithms there


def capture_cuda(function: Function, inputs: dict[str, Tensor]) -> tuple[Callable[[], None], Tensor]:
    """Capture function(**inputs); returns what replays it and the tensor that holds its result."""
    device = next(iter(inputs.values())).device  # a new thread's own is the first
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.inference_mode():
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                function(**inputs)
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        # thread_local: what the serving thread launches meanwhile is its own affair
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            output = function(**inputs)
    return graph.replay, output


def start_thread(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="graph-capture", daemon=True).start()


@dataclass(frozen=True, eq=False)
class Entry:
    """A captured graph: the places it reads, the place it writes, and what runs it."""

    inputs: dict[str, Tensor]
    output: Tensor
    replay: Callable[[], None]


class FrameGraphs:
    """Runs a frame by its graph where there is one, eagerly where there is none yet, and says which.

    build: from a key, the function of a frame, (**tensors) -> tensor; it must launch the same work each time.
    capture, spawn: how a graph is made, and how work gets a thread. Used by one serving thread.
    """

    def __init__(
        self,
        build: Callable[[Hashable], Function],
        *,
        capture: Capture = capture_cuda,
        spawn: Callable[[Callable[[], None]], None] = start_thread,
        max_graphs: int = MAX_GRAPHS,
    ):
        self.build, self.capture, self.spawn, self.max_graphs = build, capture, spawn, max_graphs
        self.why_eager = "no frame was run yet"  # for the HUD; empty while a graph serves
        self._lock = threading.Lock()  # over all that follows
        self._entries: OrderedDict[Hashable, Entry] = OrderedDict()
        self._failures: dict[Hashable, str] = {}
        self._capturing: Hashable | None = None
        self._version = 0

    def run(self, key: Hashable, **inputs: Tensor) -> Tensor:
        """The frame of these inputs. The result lies in the graph's own place until the next run of this key.

        Raises ValueError for inputs whose names, shapes or dtypes are not those that the key was captured
        with.
        """
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
        if entry is None:
            self._request(key, inputs)
            return self.build(key)(**inputs)
        if described(entry.inputs) != described(inputs):
            raise ValueError(f"graph {key} takes {described(entry.inputs)}, not {described(inputs)}")
        for name, value in inputs.items():
            entry.inputs[name].copy_(value, non_blocking=True)
        entry.replay()
        self.why_eager = ""
        return entry.output

    def invalidate(self) -> None:
        """Forget all graphs, those under way as well: weights or adapters have changed."""
        with self._lock:
            self._version += 1
            self._entries.clear()
            self._failures.clear()

    @property
    def keys(self) -> tuple[Hashable, ...]:
        """Keys that a graph serves, the one used last at the end."""
        with self._lock:
            return tuple(self._entries)

    def _request(self, key: Hashable, inputs: dict[str, Tensor]) -> None:
        """Have `key` captured, unless it failed before or another capture is under way."""
        with self._lock:
            if key in self._failures:
                self.why_eager = f"no CUDA graph: {self._failures[key]}"
                return
            self.why_eager = "a CUDA graph is being captured"
            if self._capturing is not None:
                return
            self._capturing, version = key, self._version
        # the graph's own places: the serving thread goes on with its tensors meanwhile
        own = {name: value.clone(memory_format=torch.preserve_format) for name, value in inputs.items()}
        self.spawn(lambda: self._capture(key, own, version))

    def _capture(self, key: Hashable, own: dict[str, Tensor], version: int) -> None:
        entry, failure = None, ""
        try:
            replay, output = self.capture(self.build(key), own)
            entry = Entry(own, output, replay)
        except Exception as error:  # a graph that cannot be had costs speed, never the frame
            failure = (str(error).strip().splitlines() or [type(error).__name__])[0]
        with self._lock:
            self._capturing = None
            if version != self._version:
                return
            if entry is None:
                self._failures[key] = failure
                return
            self._entries[key] = entry
            while len(self._entries) > self.max_graphs:
                self._entries.popitem(last=False)


def described(tensors: dict[str, Tensor]) -> dict[str, tuple]:
    return {name: (tuple(t.shape), t.dtype) for name, t in sorted(tensors.items())}


class HostBuffers:
    """Two pinned places in host memory that take turns: copies run beside the work, with one wait a frame.

    shape, dtype: of the arrays. Elsewhere than on CUDA the places are ordinary memory and nothing waits.
    """

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device | str):
        self.device = torch.device(device)
        cuda = self.device.type == "cuda"
        self.places = [torch.empty(shape, dtype=dtype, pin_memory=cuda) for _ in range(2)]
        self.events = [torch.cuda.Event() if cuda else None for _ in range(2)]
        self.turn = 0

    def upload(self, array: np.ndarray, target: Tensor) -> Tensor:
        """Copy an array into a tensor of the device, without waiting for it; returns the tensor."""
        place, event = self._next()
        place.copy_(torch.from_numpy(array))
        target.copy_(place, non_blocking=True)
        self._record(event)
        return target

    def download(self, source: Tensor) -> np.ndarray:
        """The tensor's values as an array of its own. This is the frame's one wait for the device."""
        place, event = self._next()
        place.copy_(source, non_blocking=True)
        self._record(event)
        if event is not None:
            event.synchronize()
        return place.numpy().copy()

    def _next(self) -> tuple[Tensor, torch.cuda.Event | None]:
        """The place whose turn it is, once the copy that used it last is done."""
        self.turn = 1 - self.turn
        event = self.events[self.turn]
        if event is not None:
            event.synchronize()
        return self.places[self.turn], event

    def _record(self, event: torch.cuda.Event | None) -> None:
        if event is not None:
            event.record(torch.cuda.current_stream(self.device))
