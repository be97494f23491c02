"""Procedural views with exact labels on disk: shards of 512 px views, sketched when a batch is drawn."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from models.api import MOOD_AXES, ModelError
from models.training.data.dataset import Spread, in_processes

FORMAT = 2  # format 1 is `dataset`: 256 px views with their sketches
SHARD_VIEWS = 8
LOG_EVERY_S = 60


class LabelledView(NamedTuple):
    """A rendered view with its labels and mood.

    picture: (H, W, 3) uint8. labels: (H, W) uint8, 0 unknown, else 1 + index in MATERIALS. mood: (7,).
    """

    picture: np.ndarray
    labels: np.ndarray
    mood: np.ndarray


def shard_path(folder: Path, index: int) -> Path:
    return folder / f"views-{index:05d}.npz"


def write_shard(folder: Path, index: int, views: int, seed: int, size_px: int) -> None:
    """Render `views` views, starting at seed + index * SHARD_VIEWS, and write them by an atomic rename."""
    from models.training.data.landscapes.landscape import render
    from models.training.data.landscapes.scenes import scene

    pictures = np.empty((views, size_px, size_px, 3), np.uint8)
    labels = np.empty((views, size_px, size_px), np.uint8)
    moods = np.empty((views, len(MOOD_AXES)), np.float32)
    for i in range(views):
        pictures[i], numbers, moods[i] = render(scene(seed + index * SHARD_VIEWS + i), size_px)
        labels[i] = numbers + 1
    temporary = folder / f".views-{index:05d}.part"
    with open(temporary, "wb") as file:
        np.savez(file, pictures=pictures, labels=labels, moods=moods)
    os.replace(temporary, shard_path(folder, index))


def write(
    folder: Path,
    *,
    views: int,
    seed: int = 0,
    size_px: int = 512,
    workers: int = 1,
    spread: Spread | None = None,
) -> None:
    """Write the missing shards. Raises ModelError if the folder holds views of another recipe.

    spread: makes the shards on other machines instead of in `workers` local processes.

    Existing shards are kept, so a stopped run resumes, and a larger `views` adds to them.
    """
    from rich.console import Console
    from rich.progress import Progress

    folder.mkdir(parents=True, exist_ok=True)
    recipe = {"format": FORMAT, "seed": seed, "size_px": size_px}
    about = folder / "recipe.json"
    if about.exists() and json.loads(about.read_text(encoding="utf-8")) != recipe:
        raise ModelError(
            f"{folder} holds other views ({about.read_text(encoding='utf-8')}); "
            "name another folder or remove it"
        )
    about.write_text(json.dumps(recipe), encoding="utf-8")
    counts = [min(SHARD_VIEWS, views - begin) for begin in range(0, views, SHARD_VIEWS)]
    missing = [i for i in range(len(counts)) if not shard_path(folder, i).exists()]
    done, logged = views - sum(counts[i] for i in missing), time.perf_counter()
    jobs = [(i, counts[i], seed, size_px) for i in missing]
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("views", total=views, completed=done)
        for index, *_ in (spread or in_processes(workers))(write_shard, folder, jobs):
            done += counts[index]
            progress.update(task, completed=done)
            if time.perf_counter() - logged > LOG_EVERY_S:
                logged = time.perf_counter()
                with open(folder / "log.jsonl", "a", encoding="utf-8") as file:
                    file.write(json.dumps({"views": done, "of": views}) + "\n")


def read(folder: Path, most: int | None = None) -> Iterator[LabelledView]:
    """Yield up to `most` views of a folder in the order of their seeds. Raises ModelError if it has none."""
    paths = sorted(folder.glob("views-*.npz"))
    if not paths:
        raise ModelError(f"no views in {folder}: run `python main.py train data` first")
    count = 0
    for path in paths:
        with np.load(path) as shard:
            pictures, labels, moods = shard["pictures"], shard["labels"], shard["moods"]
        for row in zip(pictures, labels, moods, strict=True):
            if count == most:
                return
            yield LabelledView(*row)
            count += 1
