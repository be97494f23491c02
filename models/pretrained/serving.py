"""A pretrained model behind the Img2Img protocol: the frame's own path, the same for every family."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from kernels.noise import normal
from kernels.paper import paper_in
from kernels.picture import picture_out
from models.api import Cancelled, Frame, ModelCard, ModelError, Request, check_size, never
from models.lab.path import Grid
from models.painter import Stopwatch
from models.pretrained import faults, lora, schedule
from models.pretrained.family import Family, Size
from models.pretrained.prompts import Condition, PromptCache
from models.pretrained.work import count

FRESH = (
    0x9E3779B97F4A7C15  # from one fresh noise of a stochastic sampler to the next: 2^64 over the golden mean
)


class Pretrained:
    """One request at a time: encode sketch, mix with anchored noise, sample, decode.

    sampler: by name; may be changed between requests.
    """

    def __init__(self, family: Family, card: ModelCard, sampler: str):
        self.family, self.card, self.sampler = family, card, sampler
        schedule.sampler_of(sampler, family.kind)
        self.prompts = PromptCache(family.encode)
        self.loras: list[str] = []  # names of the adapters
        self._made: tuple | None = None  # what the family is prepared for
        self._noise: tuple[tuple, Tensor] | None = None
        self._gflop: dict[tuple[int, int], tuple[float, float]] = {}

    @torch.inference_mode()
    def render(self, request: Request, *, cancelled: Callable[[], bool] = never) -> Frame:
        """One picture. Raises ModelError for a size, a number of steps or a strength that will not do, and
        Cancelled where `cancelled` says so between two steps."""
        try:
            return self._render(request, cancelled)
        except Exception as error:
            told = faults.explain(error, self.card.name)
            raise told from error

    def _render(self, request: Request, cancelled: Callable[[], bool]) -> Frame:
        height, width = request.paper.shape[:2]
        self._check(request, height, width)
        family, clock = self.family, Stopwatch()
        run, grid, condition = self.prepare(request)
        clock.lap("prompt")
        paper = torch.from_numpy(request.paper).to(family.device, non_blocking=True)
        clock.lap("upload")
        start = self.start(paper, request, grid)
        clock.lap("start")

        def model(x: Tensor, t: float, step: float) -> Tensor:
            if x is not start and cancelled():
                raise Cancelled
            return family.predict(x, t, grid, condition)

        latent = run(model, start, grid, self.fresh_noise(start, request))
        clock.lap("denoise")
        picture = picture_out(family.coder.decode(latent))
        clock.lap("decode")
        pixels = picture.cpu().numpy()
        if not math.isfinite(float(latent.sum())):
            raise ModelError(f"{self.card.name} gave what is not a number; the last picture stays")
        clock.lap("download")
        notes = (f"the prompt is too long; left out: {condition.cut}",) if condition.cut else ()
        return Frame(request, pixels, clock.stage_ms, notes)

    @torch.inference_mode()
    def prepare(self, request: Request) -> tuple[Callable, Grid, Condition]:
        """What the request's frame needs of prompt, size and times; made anew where one has changed."""
        family, size = self.family, Size(*request.paper.shape[:2])
        run = schedule.sampler_of(self.sampler, family.kind)
        grid = family.grid(self.sampler, request.steps, request.strength, size)
        condition = self.prompts(request.prompt)
        key = (condition, self.sampler, grid.times, size)
        if self._made != key:
            family.prepare(condition, schedule.times_asked(run, grid), size)
            self._made = key
        return run, grid, condition

    def _check(self, request: Request, height: int, width: int) -> None:
        check_size(height, width)
        if request.steps not in self.card.steps:
            least, most = self.card.steps[0], self.card.steps[-1]
            raise ModelError(f"{self.card.name} takes {least} to {most} steps, not {request.steps}")
        if not 0 <= request.strength <= 1:
            raise ModelError(f"strength runs from 0 to 1, not {request.strength}")

    def start(self, paper: Tensor, request: Request, grid: Grid) -> Tensor:
        """(1, C, h, w) float32: where the edit of this paper begins."""
        height, width = paper.shape[:2]
        self.family.see(paper)
        none = torch.zeros((), device=paper.device).expand(1, 3, height, width)
        planes = paper_in(paper, 0.0, noise=none, dtype=self.family.coder.dtype)
        latent = self.family.coder.encode(planes.sketch)
        noise = self.noise(request, *latent.shape[1:])
        return self.family.start(latent, noise, planes.alpha, grid)

    def noise(self, request: Request, channels: int, height: int, width: int) -> Tensor:
        """(1, channels, height, width) anchored noise, kept until seed, size or origin changes."""
        key = (request.seed, channels, height, width, request.origin)
        if self._noise is None or self._noise[0] != key:
            self._noise = key, self._normal(request.seed, request, channels, height, width)
        return self._noise[1]

    def fresh_noise(self, like: Tensor, request: Request) -> Callable[[], Tensor]:
        """What a stochastic sampler draws: anchored too, another with each call, the same in each frame."""
        drawn = 0

        def draw() -> Tensor:
            nonlocal drawn
            drawn += 1
            return self._normal(request.seed + drawn * FRESH, request, *like.shape[1:])

        return draw

    def _normal(self, seed: int, request: Request, channels: int, height: int, width: int) -> Tensor:
        x0, y0 = (place // self.family.latent_px for place in request.origin)
        size = {"height": height, "width": width, "channels": channels}
        return normal(seed, **size, y0=y0, x0=x0, device=self.family.device)[None]

    def gflop(self, height_px: int, width_px: int, steps: int) -> float:
        """Counted work of one frame; counted by running two, once a size."""
        return self._counted(height_px, width_px)[0] + self.denoise_gflop(height_px, width_px, steps)

    def denoise_gflop(self, height_px: int, width_px: int, steps: int) -> float:
        """The share of it that the `denoise` stage does."""
        return self._counted(height_px, width_px)[1] * steps

    def _counted(self, *size: int) -> tuple[float, float]:
        if size not in self._gflop:
            self._gflop[size] = count(self, *size)
        return self._gflop[size]

    def scale_loras(self, scales: list[float]) -> None:
        """Give the LoRAs, in their order, other scales from the next frame on."""
        lora.scale(self.family.pipe, self.loras, scales)
        self.prompts, self._made = PromptCache(self.family.encode), None

    def close(self) -> None:
        self._noise = self._made = None
        self.prompts = PromptCache(self.family.encode)
