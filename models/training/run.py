"""A resumable training run in a folder: checkpoint, log and sample grids."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from models.api import ModelError
from models.training import distributed

SAVE_EVERY_S = 120
LOG_EVERY_S = 60


@dataclass
class Run:
    """A training run that saves and restores its state.

    parts: modules and optimizers by name; all are saved and restored, with torch's random state.
    total_steps: length of the stage, used by the learning rate schedule.
    """

    folder: Path
    parts: dict[str, nn.Module | torch.optim.Optimizer]
    total_steps: int
    batch_size: int
    step: int = 0
    seconds: float = 0.0
    noted: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "state.pt"
        exists = path.exists()
        if exists or distributed.workers() > 1:
            try:
                state = distributed.share(torch.load(path, weights_only=True) if exists else self.state())
                for name, part in self.parts.items():
                    part.load_state_dict(state[name])
            except (RuntimeError, KeyError, ValueError, EOFError) as error:
                raise ModelError(
                    f"{path} is of another network or cut short; remove the folder to start anew"
                ) from error
            torch.set_rng_state(state["rng"])
            self.step, self.seconds = state["step"], state["seconds"]
        distributed.seed_apart(self.step)

    def state(self) -> dict:
        """Return the complete state needed to resume the run."""
        state = {name: part.state_dict() for name, part in self.parts.items()}
        return state | {"step": self.step, "seconds": self.seconds, "rng": torch.get_rng_state()}

    def save(self) -> None:
        if not distributed.is_main():
            return
        state = self.state()
        temporary = self.folder / "state.pt.part"
        torch.save(state, temporary)
        os.replace(temporary, self.folder / "state.pt")

    def note(self, **figures: float) -> None:
        """Add this step's metrics to the means of the next log line."""
        for name, value in figures.items():
            self.noted.setdefault(name, []).append(float(value))

    @property
    def images(self) -> int:
        """Number of images seen so far by all workers."""
        return self.step * self.batch_size * distributed.workers()

    def write_log(self) -> None:
        means = {name: round(sum(values) / len(values), 5) for name, values in self.noted.items()}
        line = {"step": self.step, "images": self.images, "seconds": round(self.seconds, 1)}
        with open(self.folder / "log.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(line | means) + "\n")
        self.noted = {}

    def steps(self, on_sample=None) -> Iterator[int]:
        """Yield each remaining step. Logs every minute; saves every two, at the end and on interrupt."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TimeRemainingColumn(),
        )
        last = logged = saved = time.monotonic()
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task(self.folder.name, total=self.total_steps, completed=self.step)
            try:
                while self.step < self.total_steps:
                    yield self.step
                    self.step += 1
                    now = time.monotonic()
                    self.seconds, last = self.seconds + now - last, now
                    progress.update(task, completed=self.step)
                    if now - logged > LOG_EVERY_S or self.step == self.total_steps:
                        self.write_log()
                        logged = now
                    if now - saved > SAVE_EVERY_S or self.step == self.total_steps:
                        self.save()
                        if on_sample and distributed.is_main():
                            on_sample(self.step)
                        saved = last = time.monotonic()
            except (KeyboardInterrupt, GeneratorExit):
                self.save()
                raise


def learning_rate(step: int, total: int, peak: float, warm_up: int = 200, floor: float = 0.02) -> float:
    """Linear warm-up, then cosine decay to floor * peak."""
    warm_up = max(1, min(warm_up, total // 10))
    if step < warm_up:
        return peak * (step + 1) / warm_up
    phase = (step - warm_up) / max(1, total - warm_up)
    return peak * (floor + (1 - floor) * 0.5 * (1 + torch.cos(torch.tensor(phase * torch.pi)).item()))


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


@torch.no_grad()
def follow(average: nn.Module, module: nn.Module, decay: float, step: int) -> None:
    """Update an exponential moving average of weights, with a shorter memory early in the run."""
    decay = min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(  # pyright: ignore[reportPrivateImportUsage] # public name is missing in torch
        list(average.parameters()), list(module.parameters()), 1 - decay
    )
