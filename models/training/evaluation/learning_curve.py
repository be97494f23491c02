"""Learning curve: quality against images seen, one line per checkpoint of a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch

from models.painter import diffusion, flow
from models.painter.contenders import Contender
from models.training.data.dataset import Views
from models.training.evaluation import metrics
from models.training.evaluation.evaluate import CHUNK, HeldOut

SIGMAS = (0.1, 0.3, 1.0, 3.0)  # noise levels for a picture in [-1, 1]
SAMPLED = {"flow": ("flow-euler", 25), "diffusion": ("dpm++2m", 30)}


@torch.no_grad()
def denoising_error(contender: Contender, held: HeldOut) -> float:
    """Return the mean squared error of the predicted picture at SIGMAS, relative to the sketch's error.

    All contenders get the same noise on the same pictures, whatever their path. The strength is 1, so that a
    flow's start contains no more of the sketch than a diffusion's.
    """
    condition = held.condition._replace(strength=torch.ones_like(held.condition.strength))
    model = contender.model(condition)
    unit = flow.RESIDUAL_STD if contender.kind == "diffusion" else 1.0
    data = held.pictures if contender.kind == "flow" else diffusion.residual(held.pictures, condition)
    errors = []
    for sigma in SIGMAS:
        t = contender.path.time(sigma / unit)
        a, b = contender.path.scale(t)
        made = contender.picture(model(a * data + b * held.noise, t, 0.0), condition)
        errors.append((made - held.pictures).square().mean().item())
    base = (held.pictures - held.condition.sketch).square().mean().item()
    return sum(errors) / len(errors) / base


@torch.no_grad()
def sample_swd(contender: Contender, held: HeldOut) -> float:
    sampler, steps = SAMPLED[contender.kind]
    made = []
    for begin in range(0, len(held.pictures), CHUNK):
        rows = slice(begin, begin + CHUNK)
        made.append(contender.sample(sampler, steps, held.condition.rows(rows), held.noise[rows]))
    return metrics.swd(torch.cat(made).clamp(-1, 1), held.pictures)


def curve(
    held_out: Path, folder: Path, *, count: int = 16, side_px: int = 128
) -> Callable[[Contender, int], None] | None:
    """Return a function that appends {images, swd, denoising_error} to folder/quality.jsonl.

    Returns None without held-out views. The function preserves training's random state.
    """
    if not list(held_out.glob("shard-*.npz")):
        return None
    held = HeldOut.load(held_out, min(count, len(Views(held_out))), side_px)

    def measure(contender: Contender, images: int) -> None:
        with torch.random.fork_rng():
            swd, error = sample_swd(contender, held), denoising_error(contender, held)
        line = {"images": images, "swd": round(swd, 4), "denoising_error": round(error, 5)}
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "quality.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    return measure
