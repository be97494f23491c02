"""Evaluation of the color painter on held-out seeds: metrics, a markdown table and a gallery."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models import checkpoint
from models.api import DEFAULT_MOOD, MATERIALS
from models.device.layout import channels_last
from models.device.precision import autocast
from models.painter import flow
from models.painter.flow import Condition
from models.painter.network import NetworkConfig, PainterNetwork
from models.training.data.dataset import Views
from models.training.data.tensors import to_tensors
from models.training.evaluation import metrics
from models.training.evaluation.grids import sample, to_pixels

CHUNK = 8
CHORD_STEPS = 16
STUDENT_STEPS = 4
BLANK_PAPER = 0.9


@dataclass(frozen=True)
class HeldOut:
    """Held-out views, each once: pictures (N, 3, H, W) in [-1, 1], and their conditions."""

    pictures: Tensor
    condition: Condition
    noise: Tensor

    @classmethod
    def load(cls, folder: Path, count: int, side_px: int, *, seed: int = 0) -> HeldOut:
        views = Views(folder)
        rng = np.random.default_rng(seed)
        chosen = rng.permutation(len(views))[:count]
        pictures, condition = to_tensors(views.batch(rng, len(chosen), side_px, chosen))
        noise = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(seed))
        return cls(pictures, condition, noise)


def network_of(path: Path) -> PainterNetwork:
    weights, config = checkpoint.load(path)
    network = PainterNetwork(NetworkConfig.from_dict(config))
    network.load_state_dict({name: value.float() for name, value in weights.items()})
    return channels_last(network.eval().requires_grad_(False))


def pictures_of(network: PainterNetwork, held: HeldOut, steps: int, strength: float | None = None) -> Tensor:
    """Render every held-out sketch with the network; strength: None keeps each sketch's own."""
    made = []
    for begin in range(0, len(held.pictures), CHUNK):
        rows = slice(begin, begin + CHUNK)
        condition = held.condition.rows(rows)
        if strength is not None:
            condition = condition._replace(strength=torch.full_like(condition.strength, strength))
        made.append(sample(network, condition, held.noise[rows], steps))
    return torch.cat(made)


@torch.no_grad()
def straightness(
    network: PainterNetwork, held: HeldOut, steps: int = CHORD_STEPS, count: int = 64
) -> dict[str, float]:
    """Measure the curvature of the paths, with Euler steps from start to picture.

    bend: integral of the squared difference of velocity and chord, over the squared chord (Liu et al. 2022).
    arc: length of the path over that of the chord. gap: distance of the one-step picture to the path's end,
    over the chord. Each is a ratio of two expectations over the sketches, not a mean of ratios: at a strength
    of 0.02 the chord is nearly zero, and one such sketch would dominate. A flow is evaluated for tangents
    (step size 0). A student only knows the step sizes it was trained on: with at most STUDENT_STEPS it is
    evaluated at those, and its first picture at a whole step.
    """
    taught = steps <= STUDENT_STEPS
    count, sums = min(count, len(held.pictures)), torch.zeros(5)
    for begin in range(0, count, CHUNK):
        rows = slice(begin, min(begin + CHUNK, count))
        condition, noise = held.condition.rows(rows), held.noise[rows]
        start = x = flow.start(condition, noise)
        slopes, one_step = [], predict(network, x, condition, 1.0, float(taught))
        for index in range(steps):
            t = 1 - index / steps
            slope = (x - predict(network, x, condition, t, taught / steps)) / t
            slopes.append(slope)
            x = x - slope / steps
        chord = start - x
        bent = torch.stack([squared(slope - chord) for slope in slopes]).sum(0) / steps
        length = torch.stack([squared(slope).sqrt() for slope in slopes]).sum(0) / steps
        found = bent, squared(chord), length, squared(chord).sqrt(), squared(one_step - x)
        sums += torch.stack(found).sum(1)
    bent, chord_squared, length, chord_length, missed = sums.tolist()
    return {
        "bend": bent / chord_squared,
        "arc": length / chord_length,
        "gap": (missed / chord_squared) ** 0.5,
    }


def squared(pictures: Tensor) -> Tensor:
    """Return the squared norm of each sample: (N,)."""
    return pictures.square().sum((1, 2, 3))


def predict(network: PainterNetwork, x: Tensor, condition: Condition, t: float, step: float) -> Tensor:
    times = torch.full((len(x),), t)
    with autocast():
        return flow.denoise(network, x, condition, times, torch.full_like(times, step)).float()


def diversity(network: PainterNetwork, held: HeldOut, *, seeds: int = 4, count: int = 8) -> float:
    """Return the mean absolute difference, in 0..255, of pictures of one sketch under different noise."""
    condition = held.condition.rows(slice(count))
    made = []
    for seed in range(seeds):
        generator = torch.Generator().manual_seed(100 + seed)
        made.append(sample(network, condition, torch.randn(held.noise[:count].shape, generator=generator), 1))
    pairs = [(a - b).abs().mean().item() for i, a in enumerate(made) for b in made[i + 1 :]]
    return float(np.mean(pairs)) * 127.5


@torch.no_grad()
def locality(network: PainterNetwork, side_px: int = 512) -> float:
    """Return the largest change, in 0..255, beyond the receptive radius of an edit; must be 0."""
    from models.api import Request
    from models.painter.painter import Painter

    painter = Painter(network, "evaluate")
    rng = np.random.default_rng(5)
    paper = np.zeros((side_px, side_px, 4), np.uint8)
    paper[: side_px // 2] = (118, 169, 222, 255)
    edited = paper.copy()
    middle, half = side_px // 2, 8
    edited[middle - half : middle + half, middle - half : middle + half] = (*rng.integers(0, 255, 3), 255)
    before = painter.render(Request(paper, seed=3)).picture.astype(int)
    painter.forget()  # otherwise pixels out of reach would not be recomputed at all
    after = painter.render(Request(edited, seed=3)).picture.astype(int)
    radius = network.receptive_radius_px() + half
    far = np.ones((side_px, side_px), bool)
    far[max(0, middle - radius) : middle + radius, max(0, middle - radius) : middle + radius] = False
    return float(np.abs(before - after).max(-1)[far].max())


def report_card(
    paths: dict[str, Path], folder: Path, training: Path, *, count: int, sides_px: tuple[int, ...]
) -> dict:
    """Compute all metrics.

    paths: "painter"; where available, "student", "teacher", "reflow". folder: held-out views.
    sides_px: sizes at which pictures are compared with real ones; the first is used for all other metrics.
    """
    networks = {name: network_of(path) for name, path in paths.items() if path.is_file()}
    painter, side_px = networks["painter"], sides_px[0]
    held = HeldOut.load(folder, count, side_px)
    figures: dict = {"count": len(held.pictures), "size": side_px, "sizes": {}}
    for side in sides_px:
        views = held if side == side_px else HeldOut.load(folder, count, side)
        figures["sizes"][side] = likeness(networks, views)
    figures["sketch_error"] = {}
    for strength in (0.0, 0.25, 0.5, 0.75, 1.0):
        made = pictures_of(painter, held, 1, strength)
        error = metrics.sketch_error(made, held.condition.sketch, held.condition.alpha)
        figures["sketch_error"][f"{strength}"] = error
    figures["straightness"] = {
        name: straightness(network, held, STUDENT_STEPS if name in ("painter", "student") else CHORD_STEPS)
        for name, network in networks.items()
    }
    figures["diversity"] = diversity(painter, held)
    training_set = to_tensors(Views(training).batch(np.random.default_rng(1), 128, side_px))[0]
    figures["nearest"] = {
        "painter to training": metrics.nearest_patch(pictures_of(painter, held, 1), training_set),
        "real to training": metrics.nearest_patch(held.pictures, training_set),
    }
    figures["locality"] = locality(painter)
    return rounded(figures)


def likeness(networks: dict[str, PainterNetwork], held: HeldOut) -> dict:
    """Return `swd`, `kid_random` and `sharpness` of each set of pictures against the real ones.

    The distance between two halves of the real ones is the lower bound; the sketch itself is the upper bound.
    """
    sets = {f"painter {steps}": pictures_of(networks["painter"], held, steps) for steps in (1, 2, 4)}
    if "teacher" in networks:
        sets |= {f"teacher {steps}": pictures_of(networks["teacher"], held, steps) for steps in (25, 1)}
    sets["sketch"] = held.condition.sketch + (1 - held.condition.alpha) * BLANK_PAPER
    halves = held.pictures[::2], held.pictures[1::2]
    real = "real against real"
    found = {
        "swd": {real: metrics.swd(*halves)},
        "kid_random": {real: metrics.kid_random(*halves)},
        "sharpness": {},
    }
    for name, made in sets.items():
        found["swd"][name] = metrics.swd(made, held.pictures)
        found["kid_random"][name] = metrics.kid_random(made, held.pictures)
        found["sharpness"][name] = metrics.sharpness(made, held.pictures)
    return found


def rounded(value: Any) -> Any:
    """Round every float in the value to four digits, recursively in dicts and lists."""
    if isinstance(value, dict):
        return {name: rounded(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(part) for part in value]
    return round(value, 4) if isinstance(value, float) else value


def markdown(figures: dict) -> str:
    """Format the table that the README shows."""
    rows = ["| size | pictures | swd | kid_random | sharpness, finest first |", "|---|---|---|---|---|"]
    for side, found in figures["sizes"].items():
        for name, value in found["swd"].items():
            kid = found["kid_random"][name]
            sharp = found["sharpness"].get(name)
            shown = ", ".join(f"{v:.2f}" for v in sharp) if sharp else ""
            rows.append(f"| {side} | {name} | {value:.3f} | {kid[0]:.3f} ± {kid[1]:.3f} | {shown} |")
    errors = ", ".join(f"{e:.1f} at {s}" for s, e in figures["sketch_error"].items())
    rows += [
        "",
        f"sketch_error: {errors}. diversity {figures['diversity']:.1f}. locality {figures['locality']:.0f}.",
    ]
    for name, value in figures["straightness"].items():
        shown = ", ".join(f"{key} {part:.3f}" for key, part in value.items())
        rows.append(f"straightness of {name}: {shown}.")
    return "\n".join(rows) + "\n"


def gallery(
    path: Path, paths: dict[str, Path], sketches: Path, folder: Path | None = None, side_px: int = 512
) -> None:
    """Write sketch, 1 step, 4 steps and the teacher's 25 of every sketch in a folder, side by side as PNG.

    Further rows show other inputs: an empty paper, one flat fill, and, with held-out views in `folder`, a
    whole picture.
    """
    networks = {name: network_of(p) for name, p in paths.items() if p.is_file()}
    papers = []
    for file in sorted(sketches.glob("*.png")):
        drawn = np.asarray(Image.open(file).convert("RGBA"))
        papers.append(cv2.resize(drawn, (side_px, side_px), interpolation=cv2.INTER_AREA))
    papers.append(np.zeros((side_px, side_px, 4), np.uint8))
    papers.append(np.full((side_px, side_px, 4), (*MATERIALS[6].color, 255), np.uint8))
    if folder is not None:
        whole = Views(folder).parts["pictures"][0][0]
        whole = cv2.resize(whole, (side_px, side_px), interpolation=cv2.INTER_AREA)
        papers.append(np.dstack((whole, np.full(whole.shape[:2], 255, np.uint8))))
    noise = torch.randn((1, 3, side_px, side_px), generator=torch.Generator().manual_seed(0))
    mood, strength = np.array([DEFAULT_MOOD], np.float32), np.array([0.6], np.float32)
    rows = []
    for drawn in papers:
        _, condition = to_tensors((drawn[None, ..., :3], drawn[None], mood, strength))
        shown = [condition.sketch + (1 - condition.alpha) * BLANK_PAPER]
        shown += [sample(networks["painter"], condition, noise, steps) for steps in (1, 4)]
        if "teacher" in networks:
            shown.append(sample(networks["teacher"], condition, noise, 25))
        rows.append(np.concatenate([to_pixels(picture)[0] for picture in shown], 1))
    cv2.imencode(path.suffix, np.concatenate(rows, 0)[..., ::-1])[1].tofile(path)
