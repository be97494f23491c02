"""Command-line options as frozen dataclasses, from which the typer commands are built."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field
from pathlib import Path

from models.api import LOOKS, MOOD_AXES, ModelError, check_size
from renderer.actions import InputError
from renderer.picture_params import MAX_SEED


def option(default, text: str, **extra):
    """Declare a command-line option: default, help text, and further settings for typer.

    argument: positional instead of named. flags: option names, if they differ from the field's name.
    """
    return field(default=default, metadata={"help": text, **extra})


LOOK_HELP = f"Look of the picture: {', '.join(LOOKS)}"
MOOD_HELP = f"Mood, numbers from 0 to 1 with commas between: {', '.join(axis.name for axis in MOOD_AXES)}."
MATERIAL_PROMPT_HELP = "Add the names of the painted materials to the prompt of a pretrained model."
OVERWRITE_HELP = "Replace existing files."


@dataclass(frozen=True, kw_only=True)
class Extras:
    """Options of pretrained models. The painter only accepts the dtype."""

    dtype: str | None = option(None, "float32, bfloat16 or float16; by default the fastest on the device.")
    sampler: str = option("", "Sampler of a pretrained model; by default the one recommended for it.")
    guidance: float | None = option(
        None,
        "Classifier-free guidance of a pretrained model, 0 for none; by default the model's own.",
        min=0,
        max=30,
    )
    lora: list[str] | None = option(None, "LoRA for a pretrained model: FILE or FILE:scale; repeatable.")
    control: str = option("", "ControlNet for Stable Diffusion, guided by the sketch's lines: scribble.")
    offload: bool = option(False, "Keep only the active part of a pretrained model on the GPU.")
    quantize: str = option("", "Quantize the weights of a pretrained model: 8bit or 4bit.")

    def extras(self) -> dict:
        """The given options, by name."""
        names = ("dtype", "sampler", "lora", "control", "offload", "quantize")
        given = {name: getattr(self, name) for name in names if getattr(self, name)}
        if self.guidance is not None:
            given["guidance"] = self.guidance
        return given | {"lora": tuple(self.lora)} if self.lora else given


@dataclass(frozen=True)
class Paint(Extras):
    """Options of `paint`."""

    model: str = option("painter", "Model by name (see `models`), or a .safetensors file.")
    size: str = option("512", "Paper in pixels: a side, or 1024x576; each a multiple of 32 from 256 to 2048.")
    steps: int | None = option(
        None, "Steps of the model while drawing; by default its own: 1 for the painter.", min=1, max=50
    )
    strength: float | None = option(
        None,
        "How far the picture may depart from the strokes, 0 to 1; by default the model's own.",
        min=0,
        max=1,
    )
    seed: int | None = option(None, "Seed of the noise; by default 0.", min=0, max=MAX_SEED)
    prompt: str | None = option(None, "What to paint, in words.")
    look: str | None = option(None, LOOK_HELP)
    mood: str | None = option(None, MOOD_HELP)
    material_prompt: bool | None = option(None, MATERIAL_PROMPT_HELP)
    paper: Path | None = option(None, "Start from this image, saved paper or OpenRaster file.")
    session: Path | None = option(None, "Write the stroke log to this file.")
    target_fps: float = option(
        0.0,
        "Frame rate that the model should keep while drawing, by fewer steps or pixels; 0: no target.",
        min=0,
    )
    demo: str | None = option(
        None, "Play a stroke log until you paint: a name in assets/sessions, or a file."
    )
    device: str | None = option(None, "cpu or cuda; by default cuda if available.")
    record: Path | None = option(None, "Record video to this file, .mkv or .mp4.")
    layout: str = option("side", "What is recorded: side (paper and picture), picture, paper, or window.")
    record_fps: float = option(
        0.0, "Constant frame rate of the video; 0: each frame keeps its own time.", min=0, max=120
    )
    keep_seconds: float = option(30.0, "Seconds that `keep that` (F3) saves; 0: off.", min=0, max=300)
    log_mb: float = option(
        200.0, "Megabytes of stroke logs to keep in the data folder; the oldest are deleted first.", min=1
    )
    memory_mb: int | None = option(
        None, "Megabytes that the painter may keep between frames on a CPU, so that strokes cost less.", min=0
    )
    resume: str | None = option(
        None, "Start with the paper of a stroke log: a file, or a name of `sessions`."
    )
    scale: float = option(0.0, "Scale of text and controls, 0.5 to 4; 0: the desktop's own.", min=0, max=4)
    remote: str | None = option(
        None, "Paint with a model that `serve` holds on another machine: HOST or HOST:PORT."
    )
    remote_codec: str = option("lossless", "How pictures come from there: lossless, jpeg or webp.")
    remote_quality: int = option(90, "Quality of jpeg and webp.", min=1, max=100)
    headless: bool = option(False, "Run the same loop without a display.")
    seconds: float = option(0.0, "Quit after this many seconds; 0: never.", min=0)
    json: bool = option(False, "At the end, print the measurements as one JSON object.")
    save_last: Path | None = option(None, "At the end, write the last window contents to this PNG.")
    save_paper: Path | None = option(
        None, "At the end, write the paper: layers, materials and settings to .ora, flat to .png."
    )
    overwrite: bool = option(False, OVERWRITE_HELP)


@dataclass(frozen=True)
class Render(Extras):
    """Options of `render`."""

    sketches: list[Path] = option(
        MISSING,
        "Sketches: images, saved papers, OpenRaster files, or folders of them; alpha is the painted mask.",
        argument=True,
    )
    output: Path = option(
        MISSING, "The PNG to write; for several sketches a folder.", flags=("-o", "--output")
    )
    model: str | None = option(None, "Model by name, or a .safetensors file.")
    size: str | None = option(
        None, "In pixels, a side or 1024x576; by default the sketch's own, or the nearest valid one."
    )
    materials: Path | None = option(
        None,
        "Materials of the sketch: an 8-bit PNG of its shape, 0 unknown, else 1 + number of the material; "
        "by default those saved in the file, or from exact palette colours.",
    )
    look: str | None = option(None, LOOK_HELP)
    mood: str | None = option(None, MOOD_HELP)
    material_prompt: bool | None = option(None, MATERIAL_PROMPT_HELP)
    steps: int | None = option(
        None,
        "Steps of the model; by default as in the window when the pen rests: 4 for the painter.",
        min=1,
        max=50,
    )
    strength: float | None = option(
        None,
        "How far the picture may depart from the strokes, 0 to 1; by default the model's own.",
        min=0,
        max=1,
    )
    seed: int | None = option(None, "Seed of the noise.", min=0, max=MAX_SEED)
    prompt: str | None = option(None, "What to paint, in words.")
    device: str | None = option(None, "cpu or cuda.")
    overwrite: bool = option(False, OVERWRITE_HELP)


@dataclass(frozen=True)
class Bench(Extras):
    """Options of `bench`."""

    model: str = option("painter", "Model by name, or a .safetensors file.")
    size: str = option("512", "In pixels: a side, or 1024x576.")
    steps: int = option(1, "Steps of the model.", min=1, max=50)
    look: str = option("scenic", LOOK_HELP)
    frames: int = option(200, "Frames to measure.", min=1, max=100_000)
    session: str | None = option(
        None, "Render the papers of this stroke log, with its seed and mood, instead of one sketch."
    )
    strength: float = option(0.6, "How far the picture may depart from the strokes, 0 to 1.", min=0, max=1)
    seed: int = option(0, "Seed of the noise.", min=0, max=MAX_SEED)
    device: str | None = option(None, "cpu, cuda or cuda:N.")
    results: list[Path] | None = option(
        None, "Measure nothing; show this result file of tests/gpu.sh beside others. Repeatable."
    )
    json: bool = option(False, "Print one JSON object.")


@dataclass(frozen=True)
class Replay:
    """Options of `replay`."""

    log: Path = option(
        MISSING, "A stroke log: a file, or the name of one that `sessions` lists.", argument=True
    )
    output: Path = option(
        MISSING, "A video (.mkv, .mp4), .gif, .webp, or a folder for PNG.", flags=("-o", "--output")
    )
    fps: float = option(30.0, "Frames a second.", min=0.1, max=240)
    size: int | None = option(
        None, "Longer side in pixels; strokes are drawn anew. By default the log's own."
    )
    model: str | None = option(None, "Another model, by name, or a .safetensors file.")
    steps: int | None = option(
        None, "Steps of every frame; by default those of the original frames.", min=1, max=50
    )
    look: str | None = option(None, LOOK_HELP + "; by default the log's own.")
    layout: str = option("picture", "What is shown: side, picture, paper, or window.")
    speed: float = option(
        1.0, "Playback speed: seconds of the painting in one second of the video.", min=0.01, max=1000
    )
    hold: float = option(2.0, "Seconds to show the finished picture at the end.", min=0, max=600)
    workers: int = option(1, "Processes that render.", min=1, max=64)
    device: str | None = option(None, "cpu or cuda.")
    ray: str | None = option(
        None, "Render on a Ray cluster: HOST:PORT or ray://HOST:PORT; without an address on this machine."
    )
    any_device: bool = option(False, "--ray: let nodes of different kinds render; the file says which did.")
    overwrite: bool = option(False, OVERWRITE_HELP)


@dataclass(frozen=True)
class Sessions:
    """Options of `sessions`."""

    show: str | None = option(None, "`show`: describe one log.", argument=True)
    log: str | None = option(None, "The log: a name from the list, or a file.", argument=True)
    sheet: Path | None = option(None, "Write a PNG with the paper of every log.")
    overwrite: bool = option(False, OVERWRITE_HELP)
    json: bool = option(False, "Print one JSON object.")


@dataclass(frozen=True)
class Serve(Extras):
    """Options of `serve`."""

    model: str = option("painter", "Model by name (see `models`), or a .safetensors file.")
    size: str = option("512", "Papers to estimate memory for, in pixels: a side, or 1024x576.")
    device: str | None = option(None, "cpu or cuda; by default cuda where it is there.")
    painters: int = option(4, "How many may paint at the same time.", min=1, max=64)
    port: int = option(10001, "Port that painters connect to.", min=1024, max=65535)
    bind: str = option(
        "127.0.0.1", "Address to listen on. Any other than the loopback is open to its network."
    )
    ray: str | None = option(None, "Hold the model on a cluster that runs already: HOST:PORT of its head.")


@dataclass(frozen=True)
class Train:
    """Options of `train`."""

    stage: str = option(
        MISSING,
        "data, teacher, reflow, distil, plan, finish, small, diffusion, evaluate, export, or all.",
        argument=True,
    )
    painter: str = option(
        "materials", "materials: the painter that sees materials; colors: the first one and the lab's."
    )
    folder: Path | None = option(None, "Folder for data and checkpoints.")
    quick: bool = option(False, "Run each stage for about a minute, as a test; the weights are of no use.")
    pictures: Path | None = option(
        None, "A folder of labelled pictures with manifest.csv (docs/training.md), to train looks on."
    )
    images: Path | None = option(
        None, "finish: fine-tune the shipped painter on the pictures in this folder."
    )
    ray: str | None = option(None, "Train on a Ray cluster: HOST:PORT; without an address on this machine.")
    workers: int = option(
        1, "--ray: workers that train together, each on batches of its own.", min=1, max=1024
    )
    any_device: bool = option(False, "--ray, data: let nodes of different kinds make the views.")
    json: bool = option(False, "evaluate: print one JSON object.")


def size_px(size: str | int) -> tuple[int, int]:
    """Parse "512" or "1024x576" to (width, height). Raises InputError for an invalid size."""
    sides = str(size).lower().split("x")
    try:
        numbers = [int(side) for side in sides]
        width, height = numbers if len(numbers) > 1 else numbers * 2
    except ValueError as error:
        raise InputError(f"size {size} is not valid: give one side, as 512, or both, as 1024x576") from error
    try:
        check_size(height, width)
    except ModelError as error:
        raise InputError(str(error)) from error
    return width, height


def side_px(size: int) -> int:
    """Check the side of a square paper. Raises InputError for an invalid one."""
    return size_px(size)[0]
