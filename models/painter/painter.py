"""The embedded painter as an Img2Img model: renders a picture from a paper, on the CPU or CUDA."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import torch
from torch import Tensor

from kernels.ops.noise import normal
from models.api import Cancelled, Frame, ModelCard, ModelError, Request, check_size, never
from models.checkpoint import content_hash
from models.checkpoint import load as load_checkpoint
from models.device import allocator, precision
from models.device.convolution import bf16_gain
from models.device.cuda import check_device, usual_device
from models.device.cuda_graphs import GATE
from models.device.graph_frames import GraphedFrames
from models.device.stopwatch import Stopwatch
from models.device.threads import ThreadCount, measured_start
from models.painter import patches, prompt_mood
from models.painter.incremental import MEMORY_BYTES, IncrementalFrames
from models.painter.network import NetworkConfig, PainterNetwork
from models.painter.packed import PackedNetwork
from models.painter.tiled import TiledFrames
from models.sampling.paths import uniform_times

TRIM_EVERY_S = 30.0  # least interval of heap trims, done after frames of several steps: the pen is idle then
FIXED = 0.2  # fixed cost of a partial frame, as a share of a whole frame's time at 512 px
ONE_THREAD_PX = 80_000  # less work runs on one thread: two gain 2 ms, and lose 100 ms beside a busy core
BF16_GAIN = 1.3  # bf16 is chosen if it is this much faster than fp32; the margin absorbs measurement noise


def load(
    path: Path,
    *,
    device: str | None = None,
    dtype: str | None = None,
    name: str = "painter",
    memory_mb: int | None = None,
) -> Painter:
    """Load a painter from a checkpoint.

    device: None selects CUDA if available. dtype: None measures which one is faster. memory_mb: limit of the
    activation cache on a CPU. Raises ModelError for weights that are missing, truncated or of another shape,
    and for an unavailable device.
    """
    weights, config = load_checkpoint(path)
    try:
        network = PainterNetwork(NetworkConfig.from_dict(config)).float()
        network.load_state_dict({key: value.float() for key, value in weights.items()}, strict=True)
    except (RuntimeError, TypeError, KeyError) as error:
        raise ModelError(
            f"{path} does not fit the painter's network: {str(error).splitlines()[0]}"
        ) from error
    if device is None:
        device = usual_device()
    check_device(device)
    if device == "cpu":
        allocator.keep()
    kept = MEMORY_BYTES if memory_mb is None else memory_mb * 1_000_000
    network = network.eval().requires_grad_(False)
    with GATE.other_work():  # no graph is captured while this thread uses the device
        return Painter(network, name, content_hash(path), device, dtype, memory_bytes=kept)


class Painter:
    """Painter model that renders requests. The same Request always gives the same bytes."""

    def __init__(
        self,
        network: PainterNetwork,
        name: str,
        weights_hash: str = "",
        device: str = "cpu",
        dtype: str | None = None,
        *,
        memory_bytes: int = MEMORY_BYTES,
    ):
        """memory_bytes: limit of the activation cache on a CPU."""
        self.network = network.to(device)
        self.device = torch.device(device)
        self.body, reason = choose_body(self.network, self.device, dtype)
        self.card = ModelCard(
            name=name,
            family="painter",
            device=device,
            dtype=str(self.body.dtype).removeprefix("torch."),
            threads=torch.get_num_threads() if device == "cpu" else 1,
            path=self.body.path,
            why_not_faster=reason,
            default_strength=0.6,
            licence="Apache-2.0",
            weights_hash=weights_hash,
            understands_mood=True,
            understands_prompt=True,
        )
        threads = self.card.threads
        self.threads = ThreadCount(threads, measured_start(threads) if device == "cpu" else None)
        self._reason = reason
        self.incremental = IncrementalFrames(self.body, memory_bytes)
        self.tiled: TiledFrames | None = None  # set on a GPU only
        if self.device.type != "cpu":
            self.use_graphs()
        self._trimmed_s = 0.0
        self._noise: tuple[tuple, Tensor] | None = None
        self._biases: dict[tuple, Tensor] = {}

    def use_graphs(self, **graphs) -> None:
        """Use the GPU path. graphs: arguments of FrameGraphs, such as a replacement for the CUDA capture."""
        frames = GraphedFrames(self.body.frame, self.device, **graphs)
        self.tiled = TiledFrames(frames, self.body, self.network.receptive_radius_px())

    @torch.inference_mode()
    def render(self, request: Request, *, cancelled: Callable[[], bool] = never) -> Frame:
        """Render one picture. Raises ModelError for an invalid size, number of steps or strength.

        Raises Cancelled if `cancelled` returns True between two steps.
        """
        height, width = request.paper.shape[:2]
        check_size(height, width)
        if request.steps not in self.card.steps:
            raise ModelError(f"the painter takes 1 to 4 steps, not {request.steps}")
        if not 0 <= request.strength <= 1:
            raise ModelError(f"strength runs from 0 to 1, not {request.strength}")
        mood, ignored = prompt_mood.read(request.prompt, request.mood)
        if self.device.type == "cpu":
            torch.set_num_threads(self.threads.next())
        clock = Stopwatch(self.device)
        planes = patches.split(request.paper)
        noise = self.noise(request.seed, height, width, request.origin)
        share = torch.tensor([1 - request.strength], dtype=torch.float32, device=self.device)
        times = uniform_times(request.steps)[:-1]
        rows = [self.biases(t, 1 / request.steps, request.strength, mood) for t in times]
        clock.lap("upload")

        def lap(stage: str) -> None:
            clock.lap(stage)
            if stage == "start" and "denoise" in clock.stage_ms and cancelled():
                raise Cancelled

        worked = 1.0
        if self.tiled is not None:
            made, finite = self.tiled.render(planes, noise, share, rows, request.strength, clock.lap)
        elif self.incremental.takes(request.steps, height, width):
            plan = self.incremental.plan(planes, noise, request.strength, rows)
            worked = plan.share
            if worked * request.steps * height * width < ONE_THREAD_PX:
                torch.set_num_threads(1)
            made, finite = self.incremental.frame(plan, lap)
        else:
            self.incremental.settle()  # moves the cache out of the heap that this frame allocates from
            paper = torch.from_numpy(planes)
            pixels = self.body.frame(paper, noise, share, torch.stack(rows), lap).numpy()
            made, finite = pixels[:-1].reshape(3, height, width), pixels[-1]
        if not finite:
            raise ModelError("the model gave what is not a number; the last picture stays")
        picture = cv2.merge(list(made))
        clock.finish("download")
        if request.steps > 1 and time.monotonic() - self._trimmed_s > TRIM_EVERY_S:
            allocator.trim()
            self._trimmed_s = time.monotonic()
        if self.tiled is None and worked * request.steps * height * width >= ONE_THREAD_PX:
            worked_ms = sum(clock.stage_ms[stage] for stage in ("start", "denoise", "decode"))
            work = (FIXED + (1 - FIXED) * worked) * request.steps * height * width
            self.threads.learn(torch.get_num_threads(), worked_ms / work)
        self._explain()
        notes = (f"ignored: {', '.join(ignored[:6])}",) if ignored else ()
        return Frame(request, picture, clock.stage_ms, notes, self.card.why_not_faster)

    @torch.inference_mode()
    def rest(self) -> bool:
        """Do idle work: capture a missing CUDA graph, or check partial frames; see Img2Img.rest."""
        left = self.incremental.rest() if self.tiled is None else self.tiled.rest()
        self._explain()
        return left

    def _explain(self) -> None:
        """Update why_not_faster of the card, for the last frame's path and for disabled partial frames."""
        now = self.incremental.why_off if self.tiled is None else self.tiled.why_not_faster
        why = "; ".join(filter(None, (now, self._reason)))
        if why != self.card.why_not_faster:
            self.card = replace(self.card, why_not_faster=why)

    def noise(self, seed: int, height: int, width: int, origin: tuple[int, int]) -> Tensor:
        """Anchored noise in cells, (1, 48, h, w), cached until seed, size or origin changes."""
        key = (seed, height, width, origin)
        if self._noise is None or self._noise[0] != key:
            x0, y0 = origin
            values = normal(seed, height=height, width=width, channels=3, y0=y0, x0=x0, device=self.device)
            self._noise = key, patches.of_pixels(values[None])
        return self._noise[1]

    def biases(self, t: float, step: float, strength: float, mood: tuple[float, ...]) -> Tensor:
        """Biases of all convolutions for a condition, concatenated; recent conditions are cached."""
        key = (t, step, strength, mood)
        if key not in self._biases:
            if len(self._biases) >= 64:
                self._biases.clear()
            given = ([t], [step], [strength], [mood])
            values = [torch.tensor(v, dtype=torch.float32, device=self.device) for v in given]
            self._biases[key] = torch.cat(self.network.biases(*values), 1)[0].to(self.body.dtype)
        return self._biases[key]

    def gflop(self, height_px: int, width_px: int, steps: int) -> float:
        return steps * self.network.gflop(height_px, width_px)

    def forget(self) -> None:
        """Clear the frame caches: the next frame is computed whole."""
        self.incremental.forget()
        if self.tiled is not None:
            self.tiled.forget()

    def close(self) -> None:
        self.forget()
        self._noise, self._biases = None, {}


def choose_body(
    network: PainterNetwork, device: torch.device, dtype: str | None
) -> tuple[PackedNetwork, str]:
    """Pack the network in the faster of bf16 and fp32; returns it and the reason why not a faster one.

    On a CPU the speeds are measured. Raises ModelError for bfloat16 on a device that lacks it.
    """
    if dtype == "bfloat16" and not precision.has_bf16(str(device)):
        this = "this CPU" if device.type == "cpu" else f"{device}"
        raise ModelError(f"{this} has no bfloat16; leave --dtype out, or take float32")
    if dtype is not None:
        return PackedNetwork(network, getattr(torch, dtype)), f"{dtype} was asked for"
    if device.type != "cpu":
        return PackedNetwork(network, precision.fast_dtype(str(device))), ""
    gain = bf16_gain() if torch.backends.mkldnn.is_available() else 0.0
    if gain > BF16_GAIN:
        return PackedNetwork(network, torch.bfloat16), "no CUDA device"
    bf16 = f"bf16 gains only {gain:.1f}x on this CPU" if gain else "this CPU has no bf16"
    return PackedNetwork(network, torch.float32), f"no CUDA device, and {bf16}"
