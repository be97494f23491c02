"""Options of the commands `straighten`, `compare` and `race`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_pictures_path

from renderer.cli.settings import OVERWRITE_HELP, option
from renderer.files.outputs import free_path, writable
from renderer.picture_params import MAX_SEED


@dataclass(frozen=True)
class Straighten:
    """Options of `straighten`."""

    source: str = option("moons", "Where paths start: normal, moons, rings, gaussians, spiral or checkers.")
    target: str = option("rings", "Where they end: the same choice.")
    steps: int = option(1800, "Training steps of each of the three stages.", min=1, max=100_000)
    seed: int = option(0, "Random seed.", min=0, max=MAX_SEED)
    output: Path | None = option(
        None, "Write the last picture (.png) or a video (.mp4, .mkv).", flags=("-o", "--output")
    )
    headless: bool = option(False, "Run without a display.")
    json: bool = option(False, "At the end, print the measurements of each stage as one JSON object.")
    overwrite: bool = option(False, OVERWRITE_HELP)


@dataclass(frozen=True)
class Compare:
    """Options of `compare`."""

    contenders: str | None = option(
        None, "Names or .safetensors files, with commas between; by default all with weights present."
    )
    weights: Path | None = option(None, "Folder of `train` whose weights and held-out views take precedence.")
    output: Path | None = option(
        None, "The folder for report, plots and figures.json.", flags=("-o", "--output")
    )
    quick: bool = option(False, "A small comparison that takes under three minutes.")
    seed: int = option(0, "Seed of the noise.", min=0, max=MAX_SEED)
    json: bool = option(False, "Print one JSON object with every number; with -o the report is written too.")
    overwrite: bool = option(False, OVERWRITE_HELP)


@dataclass(frozen=True)
class Race:
    """Options of `race`."""

    columns: str | None = option(
        None,
        "Two to six comma-separated columns, model:sampler:steps; by default many steps against few.",
    )
    model: str = option("", "A pretrained model; without --columns its samplers race.")
    weights: Path | None = option(None, "Folder of `train`: its weights take precedence.")
    size: int = option(256, "Side of the paper in pixels: a multiple of 32 from 256 to 2048.")
    strength: float = option(0.6, "How far the pictures may depart from the strokes, 0 to 1.", min=0, max=1)
    seed: int = option(0, "Seed of the noise.", min=0, max=MAX_SEED)
    demo: str | None = option(None, "Play a stroke log: a name in assets/sessions, or a file.")
    record: Path | None = option(None, "Record video to this file, .mkv or .mp4.")
    headless: bool = option(False, "Run without a display; the demo paints.")
    seconds: float = option(0.0, "Quit after this many seconds; 0: never.", min=0)
    json: bool = option(False, "At the end, print the measurements as one JSON object.")
    save_last: Path | None = option(None, "At the end, write the last window contents to this PNG.")
    overwrite: bool = option(False, OVERWRITE_HELP)


def report_folder(settings: Compare) -> Path | None:
    """Folder of the report; None for JSON only. Raises InputError if it cannot be written."""
    folder = settings.output
    if folder is None and not settings.json:
        folder = free_path(user_pictures_path() / "Flowbrush" / "compare")
    if folder is not None:
        for name in ("report.md", "figures.json"):
            writable(folder / name, overwrite=settings.overwrite)
    return folder
