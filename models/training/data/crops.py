"""Training batches of the material painter: crops at two scales, each sketched anew, as tensors."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.api import LOOKS, MATERIALS
from models.painter.flow import CELL_PX
from models.painter.materials import noise as noises
from models.painter.materials.condition import MaterialCondition, condition_of
from models.training.data.labelled_pictures import LabelledPicture
from models.training.data.labelled_views import LabelledView
from models.training.data.material_sketcher import sketch

SHARES = {"scenic": 0.40, "photo": 0.25, "oil": 0.25, "print": 0.10}
FULL_PICTURES = 60  # a look with fewer has a smaller share, to avoid overfitting
HALF_SCALE = 0.5  # share of crops taken at half the size, so that whole forms fit in
PLAN_SHARE = 0.7  # share of sketches with a plan for their blank places
PLAN_CELL_PX = 32
MOST_UNKNOWN = 0.3  # maximum share of unknown places in a crop; others are redrawn
JITTER_SHARE = 0.5
ATTEMPTS = 8


class Sample(NamedTuple):
    """One crop of side c. picture (c, c, 3), labels (c, c), paper (c, c, 4), materials (c, c): uint8.

    heights: (c/4,) float32. mood: (7,). strength, look and planned: 0-d arrays.
    """

    picture: np.ndarray
    labels: np.ndarray
    paper: np.ndarray
    materials: np.ndarray
    mood: np.ndarray
    strength: np.ndarray
    look: np.ndarray
    heights: np.ndarray
    planned: np.ndarray


class Batch(NamedTuple):
    """A batch of crops as tensors.

    picture: (B, 3, H, W) float32 in [-1, 1]. labels, wanted: (B, H/4, W/4) int64, material index or -1.
    labels: materials in the picture. wanted: painted or planned materials; -1 where neither is given.
    """

    picture: Tensor
    labels: Tensor
    wanted: Tensor
    condition: MaterialCondition


class Crops:
    """Draws crops from views and pictures. Raises ValueError if there are neither."""

    def __init__(
        self, views: Sequence[LabelledView], pictures: Sequence[LabelledPicture] = (), *, crop_px: int = 128
    ):
        self.crop_px = crop_px
        self.sources: dict[str, list[LabelledView | LabelledPicture]] = {look: [] for look in LOOKS}
        self.sources["scenic"].extend(views)
        for one in pictures:
            self.sources[one.look].append(one)
        shares = [
            SHARES[look] * (1.0 if look == "scenic" else min(1, len(found) / FULL_PICTURES)) * bool(found)
            for look, found in self.sources.items()
        ]
        if not sum(shares):
            raise ValueError("no views and no pictures to draw crops from")
        self.shares = np.array(shares) / sum(shares)

    def sample(self, rng: np.random.Generator, look: str | None = None) -> Sample:
        """Draw one crop with a new sketch, of a random look unless `look` names one."""
        chosen = str(rng.choice(LOOKS, p=self.shares)) if look is None else look
        sources = self.sources[chosen]
        left = ATTEMPTS
        while True:
            source = sources[rng.integers(len(sources))]
            picture, labels, heights = self.cut(source, rng)
            left -= 1
            if (labels == 0).mean() < MOST_UNKNOWN or left == 0:
                break
        if chosen != "scenic" and rng.random() < JITTER_SHARE:
            gain = rng.normal(1, 0.06, 3) * rng.normal(1, 0.05)
            picture = np.clip(picture * gain, 0, 255).astype(np.uint8)
        if rng.random() < 0.5:
            picture, labels = (np.ascontiguousarray(part[:, ::-1]) for part in (picture, labels))
        strength = float(rng.random())
        paper, materials = sketch(picture, labels, rng, strength)
        planned = rng.random() < PLAN_SHARE
        return Sample(
            picture,
            labels,
            paper,
            materials,
            source.mood,
            np.array(strength, np.float32),
            np.array(LOOKS.index(chosen), np.int64),
            heights,
            np.array(planned),
        )

    def cut(
        self, source: LabelledView | LabelledPicture, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return a crop of picture and labels, and the height of each row of cells within its full canvas."""
        height, width = source.labels.shape
        side = self.crop_px
        wide = 2 * side if rng.random() < HALF_SCALE and 2 * side <= min(height, width) else side
        y, x = int(rng.integers(height - wide + 1)), int(rng.integers(width - wide + 1))
        picture = np.ascontiguousarray(source.picture[y : y + wide, x : x + wide])
        labels = np.ascontiguousarray(source.labels[y : y + wide, x : x + wide])
        if wide != side:
            picture = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
            labels = labels[1::2, 1::2]
        rows = (np.arange(side // CELL_PX, dtype=np.float32) + 0.5) / (side // CELL_PX)
        return picture, np.ascontiguousarray(labels), (y + rows * wide).astype(np.float32) / height

    def batch(self, rng: np.random.Generator, count: int) -> Batch:
        """Return `count` crops as tensors, with new noise."""
        return to_batch([self.sample(rng) for _ in range(count)])


def to_batch(samples: Sequence[Sample]) -> Batch:
    """Stack crops of one size to tensors, with new noise from torch's random state."""
    stacked = Sample(*(np.stack(parts) for parts in zip(*samples, strict=True)))
    pixels = torch.from_numpy(stacked.picture).permute(0, 3, 1, 2).contiguous()
    labels = cells_of(stacked.labels)
    count, _, height, width = pixels.shape
    plan = planned_materials(labels) * torch.from_numpy(stacked.planned)[:, None, None, None]
    heights = torch.from_numpy(stacked.heights)[:, :, None].expand(-1, -1, width // CELL_PX)
    condition = condition_of(
        stacked.paper,
        stacked.materials,
        noise=noises.drawn(count, height, width),
        strength=torch.from_numpy(stacked.strength),
        mood=torch.from_numpy(stacked.mood),
        look=torch.from_numpy(stacked.look),
        height=heights,
        plan=plan,
    )
    wanted = cells_of(stacked.materials)
    blank = condition.means[:, 3] < 0.5
    of_plan = torch.where(plan.amax(1) > 0.5, plan.argmax(1), -torch.ones_like(wanted))
    wanted = torch.where(blank, of_plan, wanted)
    return Batch(pixels.float().div_(127.5).sub_(1), labels, wanted, condition)


def cells_of(labels: np.ndarray) -> Tensor:
    """Reduce labels to cells: (B, H, W) uint8, 0 unknown -> (B, H/4, W/4) int64, material index or -1."""
    return torch.from_numpy(labels)[:, CELL_PX // 2 :: CELL_PX, CELL_PX // 2 :: CELL_PX].long() - 1


def planned_materials(labels: Tensor) -> Tensor:
    """Return material shares at a plan's resolution: (B, h, w) int64 cells -> (B, 12, h, w)."""
    shares = F.one_hot(labels + 1, len(MATERIALS) + 1).permute(0, 3, 1, 2)[:, 1:].float()
    factor = PLAN_CELL_PX // CELL_PX
    coarse = F.avg_pool2d(shares, factor)
    return F.interpolate(coarse, scale_factor=factor, mode="bilinear", align_corners=False)


class Prefetcher:
    """Draws batches ahead on its own thread; the step number is the seed, so that runs can resume.

    `take` raises errors of the thread.
    """

    def __init__(
        self, draw: Callable[[np.random.Generator], list[Sample]], *, seed: int, first: int, ahead: int = 4
    ):
        self._queue: queue.Queue[list[Sample] | BaseException] = queue.Queue(ahead)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(draw, seed, first), daemon=True)
        self._thread.start()

    def _run(self, draw: Callable[[np.random.Generator], list[Sample]], seed: int, step: int) -> None:
        while not self._stopped.is_set():
            made: list[Sample] | BaseException
            try:
                made = draw(np.random.default_rng([seed, step]))
            except BaseException as error:  # raised in the waiting thread
                made = error
            while not self._stopped.is_set():
                try:
                    self._queue.put(made, timeout=0.2)
                    break
                except queue.Full:
                    continue
            step += 1

    def take(self) -> list[Sample]:
        made = self._queue.get()
        if isinstance(made, BaseException):
            raise made
        return made

    def close(self) -> None:
        self._stopped.set()
        self._thread.join()
