"""Options of `convert`, and of `paint` for live sources, outputs and remote control."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from pathlib import Path

from renderer.cli.settings import Extras, Paint, option
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


@dataclass(frozen=True)
class LivePaint(Paint):
    """Options of `paint`, including live sources, outputs and remote control, which need the extra `live`."""

    layout: str = option(
        "", "What is recorded and streamed: side, picture, paper, window; by default side; streamed, picture."
    )
    source: str | None = option(
        None, "A live source on the paper: webcam[:N], screen[:N or WxH+X+Y], a URL, a video, or a folder."
    )
    source_fit: str = option("cover", "How the source fills the paper: cover, contain or stretch.")
    source_crop: str = option("", "The part of the source that is shown, in its pixels: WxH+X+Y.")
    source_mirror: bool = option(False, "Mirror the source.")
    source_over: bool = option(False, "Lay the source over the strokes, not under them.")
    source_opacity: float = option(1.0, "Opacity of the source.", min=0, max=1)
    source_flatten: str = option("off", "Turn the source to flat colours: off, colors, or materials.")
    feedback: float = option(
        0.0, "How much of the model's last picture is mixed into the source: 0 to 1.", min=0, max=1
    )
    source_fps: float = option(
        0.0, "Pictures a second of a screen (by default 30) or a folder (by default 1).", min=0, max=240
    )
    source_once: bool = option(False, "Stop at the end of a video or folder; without it, begin again.")
    source_every_frame: bool = option(
        False, "Paint every frame of a video, however long that takes; without it, keep its pace."
    )
    stream: str | None = option(
        None, "Stream what is recorded: udp://, tcp://, srt:// or rtmp:// URL, or a new folder for HLS."
    )
    stream_kbps: int = option(4000, "Bit rate of the stream.", min=100, max=100_000)
    camera: bool = option(False, "Offer the picture to other programs as a virtual camera.")
    projector: int | None = option(
        None, "Show the picture alone in a second window on this display, from 0.", min=0, max=63
    )
    osc: str | None = option(None, "Listen to OSC messages on PORT, or HOST:PORT; alone it is the loopback.")
