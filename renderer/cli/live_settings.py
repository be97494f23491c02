"""Options of `convert`, and those of `paint` for live sources, outputs and remote control."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from pathlib import Path

from renderer.cli.settings import Extras, option
from renderer.picture_params import MAX_SEED


@dataclass(frozen=True)
class Convert(Extras):
    """Options of `convert`."""

    video: Path = option(MISSING, "The video.", argument=True)
    output: Path = option(MISSING, "The video to write, .mkv or .mp4.", flags=("-o", "--output"))
    model: str = option("painter", "Model by name (see `models`), or a .safetensors file.")
    size: int | None = option(None, "Longer side in pixels; by default 512.")
    steps: int | None = option(
        None, "Steps of every frame; by default the window's at rest: 4 for the painter.", min=1, max=50
    )
    strength: float | None = option(
        None, "How far to leave the video: 0 to 1; by default the model's own.", min=0, max=1
    )
    seed: int | None = option(None, "Seed of the noise, which stands still.", min=0, max=MAX_SEED)
    prompt: str | None = option(None, "What to paint, in words.")
    look: str | None = option(None, "Style of the pictures: scenic, photo, oil or print.")
    feedback: float = option(
        0.0, "How much of the last picture is mixed into the next frame: 0 to 1.", min=0, max=1
    )
    flatten: str = option("off", "Turn frames to flat colours first: off, colors, or materials.")
    keyframes: Path | None = option(
        None, 'A text file of settings over time: lines such as `4.5 strength=0.8 prompt="night"`.'
    )
    device: str | None = option(None, "cpu or cuda; by default cuda where it is there.")
    overwrite: bool = option(False, "Replace the output if it is there already.")
