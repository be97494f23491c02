"""CUDA graphs of frames: static inputs and outputs, captured by the serving thread while it is idle.

At 512x512 and batch size 1 some hundreds of launches cost more than their arithmetic; a graph replays them as
one launch. A graph reads and writes fixed memory: FrameGraphs owns it, one set for each key (size, steps,
...). PyTorch allows one capture at a time in a process and no other CUDA work during it. A frame without a
graph therefore runs eagerly, and the serving thread captures its graph when no request waits.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Key = Any  # hashable: size, steps and all else that a graph depends on
Function = Callable[..., Tensor]
Capture = Callable[[Function, dict[str, Tensor]], tuple[Callable[[], object], Tensor]]
MAX_GRAPHS = 6  # sizes and step counts kept; each holds its activations in memory
WARM_UPS = 3  # runs before a capture: kernels compile and libraries choose algorithms there
MAX_TRIES = 3  # attempts at a capture before its graph is given up
NOT_YET = "no CUDA graph yet: one is captured when no frame is asked for"


class CaptureGate:
    """Process-wide lock for captures: one at a time, and none during CUDA work of non-serving threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._others, self._capturing = 0, False

    @contextmanager
    def other_work(self) -> Iterator[None]:
        """Guard another thread's CUDA work, such as loading a model: waits for a capture, blocks new ones."""
        with self._changed:
            self._changed.wait_for(lambda: not self._capturing)
            self._others += 1
        try:
            yield
        finally:
            with self._changed:
                self._others -= 1

    @contextmanager
    def capture(self) -> Iterator[bool]:
        """Yield whether a capture may run now; never waits."""
        with self._changed:
            free = not (self._capturing or self._others)
            self._capturing |= free
        try:
            yield free
        finally:
            if free:
                with self._changed:
                    self._capturing = False
                    self._changed.notify_all()


GATE = CaptureGate()  # shared by the whole process


def capture_cuda(function: Function, inputs: dict[str, Tensor]) -> tuple[Callable[[], object], Tensor]:
    """Capture function(**inputs); return the function that replays it and the tensor of its result."""
    device = next(iter(inputs.values())).device
    # torch.cuda.graph uses the streams of the current device, and waits for that device
    with torch.cuda.device(device), torch.inference_mode():
        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                function(**inputs)
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            output = function(**inputs)
    return graph.replay, output


@dataclass(frozen=True, eq=False)
class Entry:
    """A captured graph: its input tensors, its output tensor, and the function that replays it."""

    inputs: dict[str, Tensor]
    output: Tensor
    replay: Callable[[], object]


class FrameGraphs:
    """Run frames by CUDA graph where one is captured, else eagerly with the reason. Used by one thread.

    build: from a key, the function of a frame, (**tensors) -> tensor; it must launch the same work each time.
    capture: the function that captures a graph. why_eager: why the last frame ran eagerly; empty where it ran
    by a graph.
    """

    def __init__(
        self,
        build: Callable[[Key], Function],
        *,
        capture: Capture = capture_cuda,
        max_graphs: int = MAX_GRAPHS,
        gate: CaptureGate = GATE,
    ):
        self.build, self.capture, self.max_graphs, self.gate = build, capture, max_graphs, gate
        self.why_eager = "no frame was run yet"
        self._entries: OrderedDict[Key, Entry] = OrderedDict()
        self._wanted: OrderedDict[Key, dict[str, Tensor]] = OrderedDict()  # keys to capture, and their inputs
        self._failures: dict[Key, tuple[int, str]] = {}  # attempts, and the reason of the last failure

    def run(self, key: Key, **inputs: Tensor) -> Tensor:
        """Run the frame for these inputs. The result is overwritten by the next run of this key.

        Raises ValueError for inputs whose names, shapes or dtypes differ from those at the capture of the
        key.
        """
        entry = self._entries.get(key)
        if entry is None:
            self.why_eager = self._want(key, inputs)
            return self.build(key)(**inputs)
        self._entries.move_to_end(key)
        if described(entry.inputs) != described(inputs):
            raise ValueError(f"graph {key} takes {described(entry.inputs)}, not {described(inputs)}")
        for name, value in inputs.items():
            entry.inputs[name].copy_(value, non_blocking=True)
        entry.replay()
        self.why_eager = ""
        return entry.output

    def rest(self) -> bool:
        """Capture one missing graph, the newest first. Returns whether more graphs remain to be captured.

        Call it on the thread that runs the frames, while no request waits: it takes as long as several
        frames. It does nothing while another thread uses CUDA.
        """
        if not self._wanted:
            return False
        with self.gate.capture() as free:
            if not free:
                return True
            key, inputs = self._wanted.popitem()
            try:
                replay, output = self.capture(self.build(key), inputs)
            except Exception as error:  # a failed capture costs speed, never the frame
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                self._failures[key] = self._failures.get(key, (0, ""))[0] + 1, reason
            else:
                self._entries[key] = Entry(inputs, output, replay)
                self._failures.pop(key, None)
                while len(self._entries) > self.max_graphs:
                    self._entries.popitem(last=False)
        return bool(self._wanted)

    def invalidate(self) -> None:
        """Discard all graphs and recorded failures, after a change of weights or adapters."""
        self._entries.clear()
        self._wanted.clear()
        self._failures.clear()

    def forget_wanted(self, outdated: Callable[[Key], bool]) -> None:
        """Drop pending captures of outdated keys, which will not run again."""
        for key in [key for key in self._wanted if outdated(key)]:
            del self._wanted[key]

    @property
    def keys(self) -> tuple[Key, ...]:
        """Keys that have a captured graph, the most recently used last."""
        return tuple(self._entries)

    def _want(self, key: Key, inputs: dict[str, Tensor]) -> str:
        """Queue `key` for capture, unless it failed too often; return why it has no graph yet."""
        tries, reason = self._failures.get(key, (0, ""))
        if tries >= MAX_TRIES:
            return f"no CUDA graph: {reason}"
        if key in self._wanted and described(self._wanted[key]) == described(inputs):
            self._wanted.move_to_end(key)
        else:  # a copy: the caller may reuse its tensors
            self._wanted[key] = {
                name: value.clone(memory_format=torch.preserve_format) for name, value in inputs.items()
            }
            while len(self._wanted) > self.max_graphs:
                self._wanted.popitem(last=False)
        return f"no CUDA graph yet, tried {tries} times: {reason}" if tries else NOT_YET


def described(tensors: dict[str, Tensor]) -> dict[str, tuple]:
    return {name: (tuple(t.shape), t.dtype) for name, t in sorted(tensors.items())}
