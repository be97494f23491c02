"""Render one frame with a pretrained model (SD, SDXL, FLUX, SANA ...): encode, denoise, decode."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from weakref import ref

import torch
from torch import Tensor

from kernels.ops.noise import normal
from models.api import Cancelled, Frame, ModelCard, ModelError, Request, check_size, check_steps, never
from models.device.graph_frames import GraphedParts
from models.device.stopwatch import Stopwatch
from models.pretrained.components import lora, schedule
from models.pretrained.components.prompt_cache import Condition, PromptCache
from models.pretrained.families.base import Family, Size
from models.pretrained.flop_counter import count
from models.pretrained.sources import error_messages
from models.sampling.paths import Grid

FRESH = 0x9E3779B97F4A7C15  # step between the fresh noises of a stochastic sampler: 2^64 / golden ratio
NOISES_KEPT = 16


class Pretrained:
    """Render frames with a pretrained model: encode the sketch, mix it with anchored noise, sample, decode.

    Serves one request at a time. sampler: by name; may be changed between requests.
    """

    def __init__(self, family: Family, card: ModelCard, sampler: str, *, graphs: bool = True):
        """graphs: whether parts of a frame may become CUDA graphs; weights must then stay in place."""
        self.family, self.card, self.sampler = family, card, sampler
        schedule.sampler_of(sampler, family.kind)
        self.prompts = PromptCache(family.encode)
        self.loras: list[str] = []  # names of the adapters, the model's own first
        self.lora_scales: list[float] = []  # the scale given for each
        self.own_loras, self._lora_scale = 0, 1.0
        self.painted = False  # whether any frame was made
        self._made: tuple | None = None  # the settings that the family is prepared for
        self._noises: dict[tuple, Tensor] = {}
        if graphs and family.device.type == "cuda":
            self.use_graphs()
        self._gflop: dict[tuple[int, int], tuple[float, float]] = {}

    @torch.inference_mode()
    def render(self, request: Request, *, cancelled: Callable[[], bool] = never) -> Frame:
        """Render one picture.

        Raises ModelError for a size, a number of steps or a strength that is not valid, and Cancelled where
        `cancelled` returns True between two steps.
        """
        with error_messages.explained(
            self.card.name, mismatch="" if self.painted else error_messages.MISMATCH
        ):
            return self._render(request, cancelled)

    def _render(self, request: Request, cancelled: Callable[[], bool]) -> Frame:
        height, width = request.paper.shape[:2]
        self._check(request, height, width)
        self.follow(request.lora_scale)
        family = self.family
        clock = Stopwatch(family.device)
        run, grid, condition = self.prepare(request)
        clock.lap("prompt")
        graphed = family.graphed
        if graphed is None:
            paper = torch.from_numpy(request.paper.copy()).to(family.device)  # a request's paper is read-only
        else:
            paper = graphed.transfer.upload(request.paper)
        clock.lap("upload")
        start = self.start(paper, request, grid)
        clock.lap("start")

        def model(x: Tensor, t: float, step: float) -> Tensor:
            if x is not start and cancelled():
                raise Cancelled
            return family.predict(x, t, grid, condition)

        latent = run(model, start, grid, self.fresh_noise(start, request))
        clock.lap("denoise")
        made = family.run("decoded", latent=latent)
        clock.lap("decode")
        pixels = made.cpu().numpy() if graphed is None else graphed.transfer.download(made)
        if not pixels[-1]:
            raise ModelError(f"{self.card.name} gave what is not a number; the last picture stays")
        clock.finish("download")
        self.painted = True
        if graphed is not None and self.card.why_not_faster != graphed.why_eager:
            self.card = replace(self.card, why_not_faster=graphed.why_eager)
        notes = (f"the prompt is too long; left out: {condition.cut}",) if condition.cut else ()
        if self._lora_scale != 1:
            notes += (f"LoRA at {self._lora_scale:g} of its scale",)
        picture, why = pixels[:-1].reshape(height, width, 3), self.card.why_not_faster
        return Frame(request, picture, clock.stage_ms, notes, why)

    def rest(self) -> bool:
        """Capture a missing CUDA graph; see Img2Img.rest."""
        return self.family.graphed is not None and self.family.graphed.rest()

    def use_graphs(self, **graphs) -> None:
        """Turn on CUDA graphs. graphs: arguments of FrameGraphs, such as another capture than CUDA's."""
        family = self.family
        parts = {name: weak_part(family, name) for name in ("encoded", "forward", "decoded")}
        family.graphed = GraphedParts(parts, family.device, **graphs)

    @torch.inference_mode()
    def prepare(self, request: Request) -> tuple[Callable, Grid, Condition]:
        """Prepare what depends on prompt, size and times; recomputed when one of them changes."""
        family, size = self.family, Size(*request.paper.shape[:2])
        run = schedule.sampler_of(self.sampler, family.kind)
        grid = family.grid(self.sampler, request.steps, request.strength, size)
        condition = self.prompts(request.full_prompt)
        key = (condition, self.sampler, grid.times, size)
        if self._made != key:
            family.prepare(condition, schedule.times_asked(run, grid), size)
            self._made = key
        return run, grid, condition

    def _check(self, request: Request, height: int, width: int) -> None:
        check_size(height, width)
        check_steps(self.card, request.steps)
        if not 0 <= request.strength <= 1:
            raise ModelError(f"strength runs from 0 to 1, not {request.strength}")

    def start(self, paper: Tensor, request: Request, grid: Grid) -> Tensor:
        """Return the start of the edit of this paper, (1, C, h, w) float32."""
        self.family.see(paper)
        made = self.family.run("encoded", paper=paper)
        latent, share = made[:, :-1], made[:, -1:]
        return self.family.start(latent, self.noise(request, *latent.shape[1:]), share, grid)

    def noise(self, request: Request, channels: int, height: int, width: int, drawn: int = 0) -> Tensor:
        """(1, channels, height, width) anchored noise, number `drawn` of a frame; the latest are cached."""
        key = (request.seed + drawn * FRESH, channels, height, width, request.origin)
        if key not in self._noises:
            while len(self._noises) >= NOISES_KEPT:
                self._noises.pop(next(iter(self._noises)))
            self._noises[key] = self._normal(key[0], request, channels, height, width)
        return self._noises[key]

    def fresh_noise(self, like: Tensor, request: Request) -> Callable[[], Tensor]:
        """Return the noise function of a stochastic sampler.

        The noise is anchored too: it differs with each call, and is the same in each frame.
        """
        drawn = 0

        def draw() -> Tensor:
            nonlocal drawn
            drawn += 1
            _, channels, height, width = like.shape
            return self.noise(request, channels, height, width, drawn)

        return draw

    def _normal(self, seed: int, request: Request, channels: int, height: int, width: int) -> Tensor:
        x0, y0 = (place // self.family.latent_px for place in request.origin)
        device = self.family.device
        return normal(seed, height=height, width=width, channels=channels, y0=y0, x0=x0, device=device)[None]

    def gflop(self, height_px: int, width_px: int, steps: int) -> float:
        """Counted work of one frame in 1e9 operations; counted by running two frames, once for each size."""
        return self._counted(height_px, width_px)[0] + self.denoise_gflop(height_px, width_px, steps)

    def denoise_gflop(self, height_px: int, width_px: int, steps: int) -> float:
        """The part of `gflop` that belongs to the `denoise` stage."""
        return self._counted(height_px, width_px)[1] * steps

    def _counted(self, height_px: int, width_px: int) -> tuple[float, float]:
        size = height_px, width_px
        if size not in self._gflop:
            with self.eagerly():  # a replayed graph dispatches no ops to count
                self._gflop[size] = count(self, *size)
        return self._gflop[size]

    @contextmanager
    def eagerly(self):
        graphed, self.family.graphed = self.family.graphed, None
        try:
            yield
        finally:
            self.family.graphed = graphed

    def follow(self, lora_scale: float) -> None:
        """Multiply the given scales of all LoRAs but the model's own by `lora_scale`."""
        if lora_scale != self._lora_scale and len(self.loras) > self.own_loras:
            self._lora_scale, own = lora_scale, self.own_loras
            self.scale_loras(self.lora_scales[:own] + [lora_scale * s for s in self.lora_scales[own:]])

    def scale_loras(self, scales: list[float]) -> None:
        """Set the scales of the LoRAs, in their order, from the next frame on."""
        lora.scale(self.family.pipe, self.loras, scales)
        self.prompts, self._made = PromptCache(self.family.encode), None
        self.forget_graphs()

    def close(self) -> None:
        """Release graphs, prompts, noises, and the offloading hooks."""
        self._noises, self._made = {}, None
        self.prompts = PromptCache(self.family.encode)
        self.forget_graphs()
        self.family.graphed = None
        if getattr(self.family.pipe, "_all_hooks", ()):
            remove_hooks(self.family.pipe)

    def forget_graphs(self) -> None:
        if self.family.graphed is not None:
            self.family.graphed.invalidate()


def weak_part(family: Family, name: str) -> Callable[..., Tensor]:
    """Return a part of a frame by name, without a reference to the family, which itself holds the graphs."""
    own = ref(family)
    return lambda **inputs: getattr(own(), name)(**inputs)


def remove_hooks(pipe) -> None:
    """Remove the offloading hooks from a pipeline's components.

    accelerate restores a bound method of each component as its `forward`, which is a reference cycle. The
    class has the same method.
    """
    pipe.remove_all_hooks()
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            vars(part).pop("forward", None)
