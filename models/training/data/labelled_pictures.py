"""Labelled photographs and paintings: a folder with manifest.csv, the pictures, and labels/."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from models.api import DEFAULT_MOOD, MATERIALS, MOOD_AXES, ModelError

COLUMNS = ("file", "kind", "title", "author", "licence", "source")
LOOK_OF_KIND = {"photo": "photo", "painting": "oil", "oil": "oil", "print": "print"}
HELD_OUT_EVERY = 8  # one picture in this many is held out, chosen by the hash of its name
SHORT_PX = 512  # length of the shorter side of stored pictures


class Entry(NamedTuple):
    """One line of the manifest. file: path inside the folder. look: photo, oil or print."""

    file: str
    look: str
    title: str
    author: str
    licence: str
    source: str

    @property
    def held_out(self) -> bool:
        """Whether the picture is held out; does not depend on the rest of the manifest."""
        return int(hashlib.sha256(self.file.encode()).hexdigest(), 16) % HELD_OUT_EVERY == 0


class LabelledPicture(NamedTuple):
    """A labelled photograph or painting.

    picture: (H, W, 3) uint8, shorter side SHORT_PX. labels: (H, W) uint8, 0 unknown. mood: (7,).
    """

    picture: np.ndarray
    labels: np.ndarray
    mood: np.ndarray
    look: str
    entry: Entry


def read_manifest(folder: Path) -> list[Entry]:
    """Return the pictures listed in manifest.csv. Raises ModelError for a missing or malformed manifest."""
    path = folder / "manifest.csv"
    if not path.is_file():
        raise ModelError(f"no manifest.csv in {folder}: see docs/training.md for the format")
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not set(COLUMNS) <= set(rows[0]):
        raise ModelError(f"{path} needs the columns {', '.join(COLUMNS)}")
    found = []
    for number, row in enumerate(rows, 2):
        kind = "print" if row["file"].startswith("prints/") else row["kind"]
        if kind not in LOOK_OF_KIND:
            raise ModelError(f"{path}, line {number}: kind is photo, painting or print, not {kind!r}")
        values = (row["title"], row["author"], row["licence"], row["source"])
        found.append(Entry(row["file"], LOOK_OF_KIND[kind], *values))
    return found


def label_path(folder: Path, entry: Entry) -> Path:
    """Return the path of a picture's label PNG: the same path under labels/ with the suffix .png."""
    return (folder / "labels" / entry.file).with_suffix(".png")


def load(folder: Path, *, held_out: bool = False, most: int | None = None) -> list[LabelledPicture]:
    """Load the labelled pictures of one side of the split, at most `most` of each look.

    Raises ModelError if none can be read. Pictures without labels are skipped, since they give no target
    material.
    """
    counts: dict[str, int] = {}
    found = []
    for entry in read_manifest(folder):
        path = label_path(folder, entry)
        if entry.held_out != held_out or not path.is_file() or counts.get(entry.look, 0) == most:
            continue
        try:
            picture = np.asarray(Image.open(folder / entry.file).convert("RGB"))
            labels = np.asarray(Image.open(path).convert("L"))
        except OSError as error:
            raise ModelError(f"{folder / entry.file} or its labels cannot be read: {error}") from error
        if labels.max() > len(MATERIALS):
            raise ModelError(f"{path} has the value {labels.max()}: labels go from 0 to {len(MATERIALS)}")
        scale = SHORT_PX / min(picture.shape[:2])
        size = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
        labels = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
        found.append(LabelledPicture(picture, labels, mood_of(picture, labels), entry.look, entry))
        counts[entry.look] = counts.get(entry.look, 0) + 1
    if not found:
        raise ModelError(f"no labelled picture in {folder} can be used")
    return found


def mood_of(picture: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Estimate the mood from colours and labels: (7,) float32 in [0, 1], the default where they say nothing.

    sun: brightness. warmth: red against blue. haze: mist and low contrast. clouds: share of the sky. snow,
    dryness, vegetation: shares of the land.
    """
    mood = dict(zip((axis.name for axis in MOOD_AXES), DEFAULT_MOOD, strict=True))
    share = np.bincount(labels.ravel(), minlength=len(MATERIALS) + 1) / labels.size
    part = {material.name: share[index] for index, material in enumerate(MATERIALS, 1)}
    small = cv2.resize(picture, (64, 64), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    light = small.mean(-1)
    mood["sun"] = float(np.clip((light.mean() - 0.12) / 0.5, 0, 1))
    mood["warmth"] = float(np.clip(0.45 + 2.2 * (small[..., 0] - small[..., 2]).mean(), 0, 1))
    mood["haze"] = float(np.clip(0.75 - 3.0 * light.std() + part["mist"], 0, 1))
    air = part["sky"] + part["cloud"] + part["sun"]
    if air > 0.05:
        mood["clouds"] = float(part["cloud"] / air)
    land = sum(part[name] for name in ("snow", "rock", "forest", "grass", "sand", "earth", "autumn"))
    if land > 0.1:
        mood["snow"] = float(np.clip(1.2 * part["snow"] / land, 0, 1))
        mood["dryness"] = float(np.clip((part["sand"] + 0.6 * part["earth"]) / land * 1.2, 0, 1))
        green = part["forest"] + part["autumn"] + 0.5 * part["grass"]
        mood["vegetation"] = float(np.clip(1.2 * green / land, 0, 1))
    return np.array([mood[axis.name] for axis in MOOD_AXES], np.float32)


def credits(folder: Path) -> str:
    """Return a markdown table of all pictures used in training: title, author, licence and source."""

    def cell(text: str) -> str:
        return text.replace("|", "\\|").strip()

    rows = ["| look | title | author | licence | source |", "|---|---|---|---|---|"]
    for entry in read_manifest(folder):
        if not entry.held_out and label_path(folder, entry).is_file():
            cells = (entry.look, entry.title, entry.author, entry.licence, entry.source)
            rows.append("| " + " | ".join(cell(text) for text in cells) + " |")
    return "\n".join(rows) + "\n"
