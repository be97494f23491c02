"""Race contenders behind the Img2Img protocol: a network with a sampler and a number of steps."""

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
FAMILIES = (  # many steps and few steps of a named pretrained model
    ("sd15:ddim:50", "sd15:dpm++2m:30", "sd15:euler-a:20", "lcm:4", "sd-turbo:1"),
    ("sdxl:dpm++2m:30", "sdxl:euler-a:20", "sdxl-turbo:4", "sdxl-turbo:1"),
    ("sd3.5-medium:30", "sd3.5-medium:20", "sd3.5-large-turbo:4"),
)
MOST_COLUMNS = 6
THREADS = torch.get_num_threads()
USUAL = {"painter": ("flow-euler", 1), "reflow": ("flow-euler", 2), "teacher": ("flow-euler", 4)}


@dataclass(frozen=True)
class Entrant:
    """A parsed column model:sampler:steps. ours: whether it is a lab contender, not a registry model."""

    model: str
    sampler: str
    steps: int
    ours: bool = True

    def __str__(self) -> str:
        return ":".join(part for part in (self.model, self.sampler, str(self.steps)) if part)


def entrant(spec: str, folder: Path | None = None) -> Entrant:
    """Parse model[:sampler][:steps]. Raises ModelError for an invalid column or missing weights.

    "diffusion" selects the linear schedule, which is better on the even times of a race, or the cosine one
    if only that is available.
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
    """Build the column of a registry model, with steps limited to the model's range."""
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
    """Return (runnable columns in full, one line per column without weights). Raises for other errors."""
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
    """Return the race columns of a pretrained model's family.

    Without a known family: the model with many steps and with its default steps. Raises ModelError for an
    unknown model.
    """
    for columns in FAMILIES:
        if model in {spec.split(":")[0] for spec in columns}:
            return columns
    registry.loader(model)
    least, most, usual = catalogue.MODELS[model].steps if model in catalogue.MODELS else (1, 20, 4)
    return tuple(dict.fromkeys((f"{model}:{most}", f"{model}:{usual}", f"{model}:{least}")))


def field(
    columns: str | None, folder: Path | None = None, model: str = ""
) -> tuple[list[str], list[str], list[str]]:
    """Return (columns, further columns to choose from, one line per column left out).

    columns: comma-separated; None selects DEFAULT or the family of `model`. Raises ModelError if no column
    can run.
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
    """Return a function that loads the model of a column. Raises ModelError at once for an invalid column."""
    made = entrant(spec, folder)
    if not made.ours:
        load = (
            registry.loader(made.model, sampler=made.sampler) if made.sampler else registry.loader(made.model)
        )
        return lambda: Stepped(on_threads(THREADS, load), made)
    return lambda: on_threads(1, lambda: Racer(contenders.load(made.model, folder), made.sampler, made.steps))


def on_threads(count: int, load: Callable[[], Img2Img]) -> Img2Img:
    """Load a model on the thread that will run it, and set that thread's number of torch threads.

    A racer uses one. Each column has its own thread pool, and pools with more threads than cores block each
    other: on two cores, six columns took 12 ms per evaluation with two threads each and 10 ms with one.
    """
    torch.get_num_threads()  # the first call in a thread resets the count to any thread's last
    torch.set_num_threads(count)
    return load()


class Stepped:
    """A registry model that always runs with the number of steps of its column."""

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
    """A contender under equal conditions: plain torch, the processor's fast dtype, one picture at a time."""

    def __init__(self, contender: Contender, sampler: str, steps: int, dtype: torch.dtype | None = None):
        allocator.keep()
        entry = sampler_of(sampler, contender.kind, steps)
        self.sampler, self.steps = sampler, steps
        self.network = cast(PainterNetwork, contender.network)  # the network counts its own FLOPs
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
        """Render one picture with the racer's own number of steps; the request's is ignored.

        `cancelled` is checked before every evaluation but the first.
        """
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
        pixels = torch.add(128, made[0], alpha=127.5).clamp_(0, 255).byte()  # truncation does the rounding
        picture = cv2.merge(list(pixels.numpy()))
        return Frame(request, picture, {"render": (time.perf_counter() - began) * 1e3})

    def noise(self, seed: int, height: int, width: int, origin: tuple[int, int]) -> Tensor:
        """Return anchored noise (1, 3, H, W), cached until seed, size or origin changes."""
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
    """Return the condition for the softened paper with the request's strength and mood; a batch of one."""
    paint = flow.spread(patches.means(torch.from_numpy(patches.split(request.paper))))
    strength, mood = torch.tensor([request.strength]), torch.tensor([request.mood])
    return Condition(paint[:, :3], paint[:, 3:], strength.float(), mood.float())
