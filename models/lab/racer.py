"""Contenders of a race behind the Img2Img protocol: a network with its sampler and number of steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import cv2
import torch
from torch import Tensor

from kernels.ops.noise import normal
from models import registry
from models.api import Cancelled, Frame, Img2Img, ModelCard, ModelError, Request, check_size, never
from models.device import allocator
from models.device.precision import fast_dtype
from models.lab.convergence import evaluations
from models.painter import contenders, flow, patches
from models.painter.contenders import FILES, Contender
from models.painter.flow import Condition
from models.painter.network import PainterNetwork
from models.pretrained.sources import catalogue
from models.sampling.samplers import SAMPLERS, sampler_of

DEFAULT = (
    "diffusion:ddim:50",
    "diffusion:dpm++2m:30",
    "diffusion:euler-a:20",
    "teacher:flow-euler:4",
    "reflow:flow-euler:2",
    "painter:flow-euler:1",
)
CHOICES = (
    *DEFAULT,
    "diffusion:ddpm:1000",
    "diffusion:ddpm:250",
    "diffusion:dpm++2m-karras:20",
    "diffusion:heun:18",
    "diffusion:dpm++2s-a:15",
    "diffusion:dpm++sde:15",
    "diffusion:unipc:20",
    "teacher:flow-euler:25",
    "teacher:dpm++2m:16",
    "teacher:flow-heun:8",
    "painter:flow-euler:4",
)
FAMILIES = (  # many steps against few, where a pretrained model is named
    ("sd15:ddim:50", "sd15:dpm++2m:30", "sd15:euler-a:20", "lcm:4", "sd-turbo:1"),
    ("sdxl:dpm++2m:30", "sdxl:euler-a:20", "sdxl-turbo:4", "sdxl-turbo:1"),
    ("sd3.5-medium:30", "sd3.5-medium:20", "sd3.5-large-turbo:4"),
)
MOST_COLUMNS = 6
THREADS = torch.get_num_threads()
USUAL = {"painter": ("flow-euler", 1), "reflow": ("flow-euler", 2), "teacher": ("flow-euler", 4)}


@dataclass(frozen=True)
class Entrant:
    """One column as it is written: model:sampler:steps. ours: a contender of the lab, not of the registry."""

    model: str
    sampler: str
    steps: int
    ours: bool = True

    def __str__(self) -> str:
        return ":".join(part for part in (self.model, self.sampler, str(self.steps)) if part)


def entrant(spec: str, folder: Path | None = None) -> Entrant:
    """Read model[:sampler][:steps]. Raises ModelError for what cannot race, and for missing weights.

    "diffusion" is the linear one, which is better on the even times of a race, or the cosine one where only
    that is here.
    """
    model, *rest = spec.strip().split(":")
    count = rest.pop() if rest and (len(rest) > 1 or rest[-1] not in SAMPLERS) else None
    if len(rest) > 1:
        raise ModelError(f"{spec!r} is no column; write model:sampler:steps, like {DEFAULT[1]}")
    try:
        steps = int(count) if count is not None else None
    except ValueError:
        raise ModelError(f"{spec!r} does not end in a number of steps") from None
    if model not in (*FILES, "diffusion") and (model in registry.ENTRIES or registry.is_pretrained(model)):
        return of_registry(model, rest[0] if rest else "", steps)
    if model == "diffusion":
        model = "diffusion-linear" if here("diffusion-linear", folder) else "diffusion-cosine"
        if not here(model, folder):
            raise ModelError("no weights of diffusions are here; `python main.py train diffusion` makes them")
    kind = contenders.kind_of(model, folder)
    usual = USUAL.get(model, ("dpm++2m", 30) if kind == "diffusion" else ("flow-euler", 4))
    made = Entrant(model, rest[0] if rest else usual[0], usual[1] if steps is None else steps)
    sampler_of(made.sampler, kind, made.steps)
    return made


def of_registry(model: str, sampler: str, steps: int | None) -> Entrant:
    """A column of a model that `paint` knows, in steps of its own range."""
    if model in registry.ENTRIES:
        least, most = registry.ENTRIES[model].steps
        usual = most
    else:
        least, most, usual = catalogue.MODELS[model].steps if model in catalogue.MODELS else (1, 50, 20)
    steps = usual if steps is None else steps
    if sampler and model in registry.ENTRIES:
        raise ModelError(f"{model} has no choice of samplers: write {model}:{usual}")
    if not least <= steps <= most:
        raise ModelError(f"{model} takes {least} to {most} steps, not {steps}")
    return Entrant(model, sampler, steps, ours=False)


def here(name: str, folder: Path | None) -> bool:
    try:
        return bool(contenders.find(name, folder))
    except ModelError:
        return False


def entrants(specs: list[str], folder: Path | None = None) -> tuple[list[str], list[str]]:
    """(columns that can run, in full; one line for each whose weights are missing). Raises for the rest."""
    found, missing = [], []
    for spec in specs:
        try:
            found.append(str(entrant(spec, folder)))
        except ModelError as error:
            if not str(error).startswith("no weights"):
                raise
            missing.append(f"{spec} is left out: {error}")
    return found, missing


def family(model: str) -> tuple[str, ...]:
    """The columns of a race in a pretrained model's family; the model in many steps and in its usual ones
    where no other is known. Raises ModelError for an unknown model."""
    for columns in FAMILIES:
        if model in {spec.split(":")[0] for spec in columns}:
            return columns
    registry.loader(model)
    least, most, usual = catalogue.MODELS[model].steps if model in catalogue.MODELS else (1, 20, 4)
    return tuple(dict.fromkeys((f"{model}:{most}", f"{model}:{usual}", f"{model}:{least}")))


def field(
    columns: str | None, folder: Path | None = None, model: str = ""
) -> tuple[list[str], list[str], list[str]]:
    """(columns, choices for more of them, one line for each column that is left out).

    columns: with commas between; for None, DEFAULT or the family of `model`. Raises ModelError where none can
    run.
    """
    usual = family(model) if model else DEFAULT
    wanted = list(usual) if columns is None else contenders.listed(columns)
    if len(wanted) > MOST_COLUMNS:
        raise ModelError(f"a race has room for {MOST_COLUMNS} columns, not {len(wanted)}")
    found, missing = entrants(wanted, folder)
    if not found:
        raise ModelError("; ".join(missing))
    return found, list(dict.fromkeys([*found, *entrants(list(CHOICES), folder)[0]])), missing


def loader(spec: str, folder: Path | None = None) -> Callable[[], Img2Img]:
    """A function that loads the model of a column. Raises ModelError at once for what cannot race."""
    made = entrant(spec, folder)
    if not made.ours:
        load = (
            registry.loader(made.model, sampler=made.sampler) if made.sampler else registry.loader(made.model)
        )
        return lambda: Stepped(on_threads(THREADS, load), made)
    return lambda: on_threads(1, lambda: Racer(contenders.load(made.model, folder), made.sampler, made.steps))


def on_threads(count: int, load: Callable[[], Img2Img]) -> Img2Img:
    """Load a model where it will serve, with so many threads of torch from then on.

    A racer takes one. Each column has a team of threads of its own, and teams of more threads than there are
    cores wait for each other: with two each, six columns took 12 ms for an evaluation on two cores, with one
    10.
    """
    torch.get_num_threads()  # a thread's first call into torch sets what was said last in any
    torch.set_num_threads(count)
    return load()


class Stepped:
    """A model of the registry that always takes the steps of its column."""

    def __init__(self, model: Img2Img, entrant: Entrant):
        self._model, self._steps = model, entrant.steps
        words = (entrant.model, entrant.sampler, str(entrant.steps))
        self.card = replace(model.card, name=", ".join(word for word in words if word))

    def render(self, request: Request, *, cancelled: Callable[[], bool] = never) -> Frame:
        return self._model.render(replace(request, steps=self._steps), cancelled=cancelled)

    def rest(self) -> bool:
        return self._model.rest()

    def gflop(self, height_px: int, width_px: int, steps: int) -> float:
        return self._model.gflop(height_px, width_px, self._steps)

    def close(self) -> None:
        self._model.close()


class Racer:
    """Every contender on the same footing: plain torch, the processor's fast type, one picture at a time."""

    def __init__(self, contender: Contender, sampler: str, steps: int, dtype: torch.dtype | None = None):
        allocator.keep()
        entry = sampler_of(sampler, contender.kind, steps)
        self.sampler, self.steps = sampler, steps
        self.network = cast(PainterNetwork, contender.network)  # it counts its own work
        self.contender = contender.cast(dtype or fast_dtype())
        self._noise: tuple[tuple, Tensor] | None = None
        self.evaluations = evaluations(contender, sampler, steps)
        self.card = ModelCard(
            name=f"{contender.name}, {entry.label}, {steps}",
            family=contender.kind,
            dtype=str(dtype or fast_dtype()).removeprefix("torch."),
            threads=torch.get_num_threads(),
            path=f"{self.evaluations} evaluation{'s' * (self.evaluations != 1)}",
            steps=(steps,),
            licence="Apache-2.0",
            understands_mood=True,
        )

    @torch.inference_mode()
    def render(self, request: Request, *, cancelled: Callable[[], bool] = never) -> Frame:
        """One picture in the racer's own steps, whatever the request's. `cancelled` is asked before every
        evaluation but the first."""
        height, width = request.paper.shape[:2]
        check_size(height, width)
        began = time.perf_counter()
        asked = False

        def network(*arguments: Tensor) -> Tensor:
            nonlocal asked
            if asked and cancelled():
                raise Cancelled
            asked = True
            return self.contender.network(*arguments)

        condition = condition_of(request)
        noise = self.noise(request.seed, height, width, request.origin)
        turned = Contender(self.contender.name, network, self.contender.path)
        made = turned.sample(self.sampler, self.steps, condition, noise, seed=request.seed)
        if not math.isfinite(float(made.sum())):
            raise ModelError("the model gave what is not a number")
        pixels = torch.add(128, made[0], alpha=127.5).clamp_(0, 255).byte()  # cutting off rounds
        picture = cv2.merge(list(pixels.numpy()))
        return Frame(request, picture, {"render": (time.perf_counter() - began) * 1e3})

    def noise(self, seed: int, height: int, width: int, origin: tuple[int, int]) -> Tensor:
        """(1, 3, H, W) anchored noise, kept until seed, size or origin changes."""
        key = (seed, height, width, origin)
        if self._noise is None or self._noise[0] != key:
            x0, y0 = origin
            values = normal(seed, height=height, width=width, channels=3, y0=y0, x0=x0)
            self._noise = key, values[None]
        return self._noise[1]

    def rest(self) -> bool:
        return False

    def gflop(self, height_px: int, width_px: int, steps: int) -> float:
        return self.evaluations * self.network.gflop(height_px, width_px)

    def close(self) -> None:
        self._noise = None


def condition_of(request: Request) -> Condition:
    """The paper, softened, with the request's strength and mood; a batch of one."""
    paint = flow.spread(patches.means(torch.from_numpy(patches.split(request.paper))))
    strength, mood = torch.tensor([request.strength]), torch.tensor([request.mood])
    return Condition(paint[:, :3], paint[:, 3:], strength.float(), mood.float())
