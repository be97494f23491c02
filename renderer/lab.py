"""What the commands of the flow lab can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from renderer.settings import MAX_SEED, option


@dataclass(frozen=True)
class Straighten:
    """What `straighten` can be told."""

    source: str = option("moons", "Where paths start: normal, moons, rings, gaussians, spiral or checkers.")
    target: str = option("rings", "Where they end: the same choice.")
    steps: int = option(1100, "Training steps of each of the three stages.", min=1, max=100_000)
    seed: int = option(0, "Seed of everything.", min=0, max=MAX_SEED)
    output: Path | None = option(
        None, "Write the last picture (.png), or all (.mp4, .mkv).", flags=("-o", "--output")
    )
    headless: bool = option(False, "Without a display.")
    json: bool = option(False, "At the end, print one JSON object with the figures of each stage.")


@dataclass(frozen=True)
class Compare:
    """What `compare` can be told."""

    contenders: str = option(
        "", "Names or .safetensors files, with commas between; by default all whose weights are here."
    )
    weights: Path | None = option(None, "A folder of `train`: its weights and held-out views are used first.")
    output: Path | None = option(
        None, "The folder for report, plots and figures.json.", flags=("-o", "--output")
    )
    quick: bool = option(False, "Small and in under three minutes.")
    seed: int = option(0, "Seed of the noise.", min=0, max=MAX_SEED)
    json: bool = option(False, "Print one JSON object with every number; with -o the report is written too.")
