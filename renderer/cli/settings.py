"""Options of the commands, as frozen dataclasses from which the command line is built."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field
from pathlib import Path

from models.api import ModelError
from renderer.actions import InputError
from renderer.picture_params import MAX_SEED


def option(default, text: str, **extra):
    """A field of the command line: its default, its help, and what typer needs besides.

    argument: it is given by its place and not by a name. flags: its names, where they are not the field's.
    """
    return field(default=default, metadata={"help": text, **extra})


@dataclass(frozen=True, kw_only=True)
class Extras:
    """What a pretrained model can be told besides; the painter takes none of it but its dtype."""

    dtype: str | None = option(None, "float32, bfloat16 or float16; by default what the device is fast with.")
    sampler: str = option("", "Sampler of a pretrained model by name; by default the one that suits it.")
    guidance: float | None = option(
        None, "Classifier-free guidance of a pretrained model, 0 for none; by default its own.", min=0, max=30
    )
    lora: list[str] | None = option(None, "A LoRA for a pretrained model: FILE or FILE:scale; several times.")
    control: str = option("", "Lead a Stable Diffusion model by the sketch's lines: scribble.")
    offload: bool = option(False, "Keep on the GPU only the part of a pretrained model that works.")
    quantize: str = option("", "Load a pretrained model's weights in 8bit or 4bit.")

    def extras(self) -> dict:
        """What was asked for, by name; empty for nothing."""
        names = ("dtype", "sampler", "lora", "control", "offload", "quantize")
        given = {name: getattr(self, name) for name in names if getattr(self, name)}
        if self.guidance is not None:
            given["guidance"] = self.guidance
        return given | {"lora": tuple(self.lora)} if self.lora else given


@dataclass(frozen=True)
class Paint(Extras):
    """What `paint` can be told."""

    model: str = option("painter", "Model by name (see `models`), or a .safetensors file.")
    size: int = option(512, "Side of the square paper in pixels: a multiple of 32 from 256 to 2048.")
    steps: int | None = option(
        None, "Steps of the model while drawing; by default its own: 1 for the painter.", min=1, max=50
    )
    strength: float | None = option(
        None, "How far the picture may leave the strokes: 0 to 1; by default the model's own.", min=0, max=1
    )
    seed: int = option(0, "Seed of the noise.", min=0, max=MAX_SEED)
    prompt: str = option("", "What to paint, in words.")
    paper: Path | None = option(None, "Start from this image.")
    session: Path | None = option(None, "Write the stroke log to this file.")
    target_fps: float = option(
        0.0, "Frames a second that the model shall hold while drawing; 0: no matter.", min=0
    )
    demo: str | None = option(None, "Paint by itself from a session: a name in assets/sessions, or a file.")
    device: str | None = option(None, "cpu or cuda; by default cuda where it is there.")
    record: Path | None = option(None, "Film the painting into this file, .mkv or .mp4.")
    layout: str = option("side", "What is filmed: side, picture, paper, or window.")
    record_fps: float = option(
        0.0, "Constant frames a second of the film; 0: each at its own time.", min=0, max=120
    )
    keep_seconds: float = option(
        30.0, "How far back `keep that` (F3) reaches; 0: nothing is kept.", min=0, max=300
    )
    log_mb: float = option(
        200.0, "Megabytes of stroke logs that are kept in the data folder; the oldest go first.", min=1
    )
    resume: str | None = option(
        None, "Start with the paper of a stroke log: a file, or a name of `sessions`."
    )
    headless: bool = option(False, "Run the same loop without a display.")
    seconds: float = option(0.0, "End after so many seconds; 0: never.", min=0)
    json: bool = option(False, "At the end, print one JSON object with what was measured.")
    save_last: Path | None = option(None, "At the end, write the last window contents to this PNG.")


@dataclass(frozen=True)
class Render(Extras):
    """What `render` can be told."""

    sketch: Path = option(MISSING, "A sketch: any image; a PNG's alpha is the painted mask.", argument=True)
    output: Path = option(MISSING, "The PNG to write.", flags=("-o", "--output"))
    model: str | None = option(None, "Model by name, or a .safetensors file.")
    size: int | None = option(None, "Side in pixels; by default the sketch's own, if it will do.")
    steps: int | None = option(
        None,
        "Steps of the model; by default the window's at rest: 4 for the painter.",
        min=1,
        max=50,
    )
    strength: float | None = option(
        None, "How far to leave the strokes; by default the model's own.", min=0, max=1
    )
    seed: int | None = option(None, "Seed of the noise.", min=0, max=MAX_SEED)
    prompt: str | None = option(None, "What to paint, in words.")
    device: str | None = option(None, "cpu or cuda.")


@dataclass(frozen=True)
class Bench(Extras):
    """What `bench` can be told."""

    model: str = option("painter", "Model by name, or a .safetensors file.")
    size: int = option(512, "Side in pixels.")
    steps: int = option(1, "Steps of the model.", min=1, max=50)
    frames: int = option(200, "Frames to measure.", min=1, max=100_000)
    session: str | None = option(
        None, "Render the papers of this stroke log, with its seed and mood, instead of one sketch."
    )
    strength: float = option(0.6, "How far to leave the strokes.", min=0, max=1)
    seed: int = option(0, "Seed of the noise.", min=0, max=MAX_SEED)
    device: str | None = option(None, "cpu or cuda.")
    json: bool = option(False, "Print one JSON object.")


@dataclass(frozen=True)
class Replay:
    """What `replay` can be told."""

    log: Path = option(
        MISSING, "A stroke log: a file, or the name of one that `sessions` lists.", argument=True
    )
    output: Path = option(
        MISSING, "A film (.mkv, .mp4), .gif, .webp, or a folder for PNG.", flags=("-o", "--output")
    )
    fps: float = option(30.0, "Frames a second.", min=0.1, max=240)
    size: int | None = option(
        None, "Longer side in pixels; strokes are drawn anew. By default the log's own."
    )
    model: str | None = option(None, "Another model, by name, or a .safetensors file.")
    steps: int | None = option(
        None, "Steps of every frame; by default as the window showed it.", min=1, max=50
    )
    layout: str = option("picture", "What is shown: side, picture, paper, or window.")
    speed: float = option(1.0, "How many seconds of the painting pass in one.", min=0.01, max=1000)
    hold: float = option(2.0, "Seconds for which the finished picture stands.", min=0, max=600)
    workers: int = option(1, "Processes that render.", min=1, max=64)
    device: str | None = option(None, "cpu or cuda.")
    ray: str | None = option(
        None, "Render on a Ray cluster: HOST:PORT or ray://HOST:PORT; without an address on this machine."
    )
    any_device: bool = option(False, "--ray: let nodes of different kinds render; the file says which did.")


@dataclass(frozen=True)
class Sessions:
    """What `sessions` can be told."""

    show: str | None = option(None, "`show`: tell what is in one log.", argument=True)
    log: str | None = option(None, "The log: a name from the list, or a file.", argument=True)
    sheet: Path | None = option(None, "Write a PNG with the paper of every log.")
    json: bool = option(False, "Print one JSON object.")


@dataclass(frozen=True)
class Train:
    """What `train` can be told."""

    stage: str = option(
        MISSING, "data, teacher, reflow, distil, finish, diffusion, evaluate, export, or all.", argument=True
    )
    folder: Path | None = option(None, "Where data and checkpoints are kept.")
    quick: bool = option(False, "A run of a minute that proves the stage works; no use to paint.")
    images: Path | None = option(None, "finish: learn from the pictures in this folder.")
    json: bool = option(False, "evaluate: print one JSON object.")


def side_px(size: int) -> int:
    """The size, if it will do. Raises InputError."""
    from models.api import check_size

    try:
        check_size(size, size)
    except ModelError as error:
        raise InputError(str(error)) from error
    return size
