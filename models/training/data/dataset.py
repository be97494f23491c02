"""Training data of the color painter on disk: shards of views with sketches, written in parallel."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import cv2
import numpy as np
from platformdirs import user_cache_dir

from models.api import MOOD_AXES, ModelError

SHARD_VIEWS = 64
SKETCHES = 3  # sketches per view, at three strengths
FORMAT = 1
LOG_EVERY_S = 60


def default_folder() -> Path:
    return Path(user_cache_dir("flowbrush")) / "training"


def make_shard(folder: Path, index: int, views: int, seed: int, size_px: int) -> None:
    """Render `views` views, starting at seed + index * SHARD_VIEWS, and write them by an atomic rename."""
    from models.training.data.landscapes.landscape import render
    from models.training.data.landscapes.scenes import scene
    from models.training.data.sketcher import sketch

    pictures = np.empty((views, size_px, size_px, 3), np.uint8)
    labels = np.empty((views, size_px, size_px), np.uint8)
    moods = np.empty((views, len(MOOD_AXES)), np.float32)
    sketches = np.empty((views, SKETCHES, size_px, size_px, 4), np.uint8)
    strengths = np.empty((views, SKETCHES), np.float32)
    for i in range(views):
        number = seed + index * SHARD_VIEWS + i
        pictures[i], labels[i], moods[i] = render(scene(number), size_px)
        rng = np.random.default_rng([number, 21])
        for j in range(SKETCHES):
            strengths[i, j] = (j + rng.random()) / SKETCHES
            sketches[i, j] = sketch(pictures[i], labels[i], rng, float(strengths[i, j]))
    temporary = folder / f".shard-{index:05d}.part"
    with open(temporary, "wb") as file:
        np.savez(file, pictures=pictures, labels=labels, moods=moods, sketches=sketches, strengths=strengths)
    os.replace(temporary, shard_path(folder, index))


def shard_path(folder: Path, index: int) -> Path:
    return folder / f"shard-{index:05d}.npz"


Spread = Callable[[Callable, Path, list[tuple]], Iterator[tuple]]  # models.cluster.training.files_on


def write(
    folder: Path,
    *,
    views: int,
    seed: int = 0,
    size_px: int = 256,
    workers: int = 2,
    spread: Spread | None = None,
) -> None:
    """Write the missing shards. Raises ModelError if the folder holds data of another recipe.

    spread: makes the shards on other machines instead of in `workers` local processes.
    """
    from rich.console import Console
    from rich.progress import Progress

    folder.mkdir(parents=True, exist_ok=True)
    recipe = {"format": FORMAT, "seed": seed, "size_px": size_px, "sketches": SKETCHES}
    about = folder / "recipe.json"
    if about.exists() and json.loads(about.read_text()) != recipe:
        raise ModelError(f"{folder} holds other data ({about.read_text()}); name another folder or remove it")
    about.write_text(json.dumps(recipe))
    counts = [min(SHARD_VIEWS, views - start) for start in range(0, views, SHARD_VIEWS)]
    missing = [i for i in range(len(counts)) if not shard_path(folder, i).exists()]
    done, logged = views - sum(counts[i] for i in missing), time.monotonic()
    jobs = [(i, counts[i], seed, size_px) for i in missing]
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("views", total=views, completed=done)
        for index, *_ in (spread or in_processes(workers))(make_shard, folder, jobs):
            done += counts[index]
            progress.update(task, completed=done)
            if time.monotonic() - logged > LOG_EVERY_S:
                logged = time.monotonic()
                with open(folder / "log.jsonl", "a", encoding="utf-8") as file:
                    file.write(json.dumps({"views": done, "of": views}) + "\n")


def in_processes(workers: int) -> Spread:
    """Return a function that spreads jobs over this many local processes."""

    def spread(function: Callable, folder: Path, jobs: list[tuple]) -> Iterator[tuple]:
        with ProcessPoolExecutor(workers) as pool:
            running = {pool.submit(function, folder, *job): job for job in jobs}
            for done in as_completed(running):
                done.result()
                yield running[done]

    return spread


class Views:
    """All shards of a folder in memory. 4,000 views of 256 px with three sketches take 4 GB."""

    def __init__(self, folder: Path):
        paths = sorted(folder.glob("shard-*.npz"))
        if not paths:
            raise ModelError(f"no training data in {folder}: run `python main.py train data` first")
        self.parts: dict[str, list[np.ndarray]] = {}
        for path in paths:
            with np.load(path) as shard:
                for name in ("pictures", "sketches", "moods", "strengths"):
                    self.parts.setdefault(name, []).append(shard[name])
        self.index = [(s, i) for s, part in enumerate(self.parts["pictures"]) for i in range(len(part))]

    def __len__(self) -> int:
        return len(self.index)

    def batch(
        self, rng: np.random.Generator, count: int, crop_px: int, chosen: np.ndarray | None = None
    ) -> tuple[np.ndarray, ...]:
        """Return picture (B,H,W,3) uint8, sketch (B,H,W,4) uint8, mood (B,M) and strength (B,), both float32.

        Random crops, half of them mirrored; the strength is that of the sketch.
        chosen: indices of the views; by default random, with repetition.
        """
        picture = np.empty((count, crop_px, crop_px, 3), np.uint8)
        sketch = np.empty((count, crop_px, crop_px, 4), np.uint8)
        mood = np.empty((count, len(MOOD_AXES)), np.float32)
        strength = np.empty(count, np.float32)
        for row in range(count):
            s, i = self.index[rng.integers(len(self.index)) if chosen is None else chosen[row]]
            j = rng.integers(SKETCHES)
            whole, drawn = self.parts["pictures"][s][i], self.parts["sketches"][s][i, j]
            y, x = rng.integers(0, whole.shape[0] - crop_px + 1, 2)
            side = slice(None, None, -1) if rng.random() < 0.5 else slice(None)
            picture[row] = whole[y : y + crop_px, x : x + crop_px][:, side]
            sketch[row] = drawn[y : y + crop_px, x : x + crop_px][:, side]
            mood[row], strength[row] = self.parts["moods"][s][i], self.parts["strengths"][s][i, j]
        return picture, sketch, mood, strength


class Mixture:
    """Several sets of views combined: each batch has a share of each, so that all sizes are trained."""

    def __init__(self, sets: list[Views], shares: tuple[float, ...]):
        self.sets = sets
        self.shares = np.array(shares[: len(sets)]) / sum(shares[: len(sets)])

    def __len__(self) -> int:
        return sum(len(views) for views in self.sets)

    def batch(self, rng: np.random.Generator, count: int, crop_px: int) -> tuple[np.ndarray, ...]:
        """Return a batch as `Views.batch` does, from all sets."""
        counts = rng.multinomial(count, self.shares)
        drawn = [views.batch(rng, n, crop_px) for views, n in zip(self.sets, counts, strict=True) if n]
        return tuple(np.concatenate(parts) for parts in zip(*drawn, strict=True))


def contact_sheet(path: Path, views: Views, count: int = 48) -> None:
    """Write a PNG of `count` views, each beside its first sketch."""
    tiles = []
    for s, i in views.index[:count]:
        drawn = views.parts["sketches"][s][i, 0].astype(np.float32)
        alpha = drawn[..., 3:] / 255
        flat = drawn[..., :3] * alpha + 248 * (1 - alpha)
        tiles.append(np.concatenate((flat.astype(np.uint8), views.parts["pictures"][s][i]), 1))
    across = min(6, len(tiles))
    rows = [np.concatenate(tiles[k : k + across], 1) for k in range(0, len(tiles) // across * across, across)]
    cv2.imencode(path.suffix, np.concatenate(rows, 0)[..., ::-1])[1].tofile(path)
