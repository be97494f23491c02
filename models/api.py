"""Data types and protocols shared by renderer and models: Request, Frame, Img2Img, MATERIALS.

Needs numpy only, so that the window can be on the screen before torch is imported.
Pictures and papers are arrays of shape (H, W, C), dtype uint8, sRGB, row 0 at the top.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

MIN_SIZE_PX, MAX_SIZE_PX, SIZE_MULTIPLE_PX = 256, 2048, 32
MAX_PROMPT_CHARS = 2000
DTYPES = ("float32", "bfloat16", "float16")
LOOKS = ("scenic", "photo", "oil", "print")  # styles of a picture; print is a woodblock print
LEAST_NAMED = 0.005  # share of the paper that a material must cover for its name to join a prompt


class ModelError(Exception):
    """A model cannot be found, loaded or run. The message is one line that says what to do."""


class Unreachable(ModelError):
    """A model on another machine cannot render at the moment. The same request may be repeated."""


class Cancelled(Exception):
    """A rendering was stopped between two steps, because `cancelled` returned True."""


class Rect(NamedTuple):
    """Half-open box of pixels: x0 <= x < x1, y0 <= y < y1. A union ignores empty boxes."""

    x0: int = 0
    y0: int = 0
    x1: int = 0
    y1: int = 0

    @property
    def width(self) -> int:
        return max(0, self.x1 - self.x0)

    @property
    def height(self) -> int:
        return max(0, self.y1 - self.y0)

    @property
    def empty(self) -> bool:
        return self.x1 <= self.x0 or self.y1 <= self.y0

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of this box in an array of shape (H, W, ...)."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def union(self, other: Rect) -> Rect:
        if self.empty:
            return other
        if other.empty:
            return self
        return Rect(
            min(self.x0, other.x0), min(self.y0, other.y0), max(self.x1, other.x1), max(self.y1, other.y1)
        )

    def intersect(self, other: Rect) -> Rect:
        box = Rect(
            max(self.x0, other.x0), max(self.y0, other.y0), min(self.x1, other.x1), min(self.y1, other.y1)
        )
        return Rect() if box.empty else box

    def grow(self, margin_px: int) -> Rect:
        if self.empty:
            return self
        return Rect(self.x0 - margin_px, self.y0 - margin_px, self.x1 + margin_px, self.y1 + margin_px)


NOTHING = Rect()


class Material(NamedTuple):
    """A material of the palette, and the colour (r, g, b) in 0..255 that encodes it."""

    name: str
    color: tuple[int, int, int]


# The order gives the label numbers of the training data; the embedded painter is trained on these colours.
MATERIALS = (
    Material("sky", (118, 169, 222)),
    Material("cloud", (236, 239, 243)),
    Material("sun", (255, 226, 130)),
    Material("snow", (246, 250, 255)),
    Material("rock", (122, 113, 106)),
    Material("forest", (38, 72, 44)),
    Material("grass", (112, 146, 62)),
    Material("sand", (216, 186, 132)),
    Material("water", (44, 98, 138)),
    Material("earth", (128, 92, 62)),
    Material("autumn", (190, 106, 38)),
    Material("mist", (190, 200, 208)),
)


class MoodAxis(NamedTuple):
    """One number of the mood vector. All axes run 0..1; `low` and `high` name the ends."""

    name: str
    default: float
    low: str
    high: str


MOOD_AXES = (
    MoodAxis("sun", 0.6, "night", "noon"),
    MoodAxis("warmth", 0.4, "cold light", "golden light"),
    MoodAxis("haze", 0.3, "clear", "foggy"),
    MoodAxis("clouds", 0.35, "open sky", "overcast"),
    MoodAxis("snow", 0.2, "no snow", "snow to the valley"),
    MoodAxis("dryness", 0.3, "lush", "desert"),
    MoodAxis("vegetation", 0.5, "bare", "wooded"),
)
DEFAULT_MOOD = tuple(axis.default for axis in MOOD_AXES)


@dataclass(frozen=True, eq=False)
class Request:
    """Immutable input of one picture.

    paper: (H, W, 4) uint8, straight alpha, 0 where nothing is painted; read-only, owned by the request.
    dirty: what changed since the previous request.
    epoch: raised by a change of prompt, model, seed or mood.
    strength: 0..1, how far the picture may depart from the strokes.
    lora_scale: 0..2, multiplies the scales of the LoRAs that were added to a model.
    mood: one number in 0..1 for each of MOOD_AXES.
    origin: canvas position (x, y) of the paper's top-left pixel, where the anchored noise is read.
    materials: (H, W) uint8, 0 unknown or unpainted, else 1 + index in MATERIALS; None: all unknown.
    look: one of LOOKS. A model that does not support it (`ModelCard.looks`) ignores it.
    material_prompt: whether names of materials join the prompt; for models that read whole sentences.
    """

    paper: np.ndarray
    sequence: int = 0
    epoch: int = 0
    dirty: Rect = NOTHING
    steps: int = 1
    strength: float = 0.6
    seed: int = 0
    prompt: str = ""
    mood: tuple[float, ...] = DEFAULT_MOOD
    origin: tuple[int, int] = (0, 0)
    lora_scale: float = 1.0
    materials: np.ndarray | None = None
    look: str = "scenic"
    material_prompt: bool = False

    def __post_init__(self) -> None:
        """Raise ModelError for materials of another shape than the paper, and for an unknown look."""
        check_look(self.look)
        labels = self.materials
        if labels is not None and (labels.dtype != np.uint8 or labels.shape != self.paper.shape[:2]):
            raise ModelError(
                f"materials are {labels.dtype} {labels.shape}, the paper needs uint8 {self.paper.shape[:2]}"
            )

    @property
    def full_prompt(self) -> str:
        """The prompt, preceded by the names of the painted materials where `material_prompt` is set."""
        if not self.material_prompt or self.materials is None:
            return self.prompt
        return ", ".join(part for part in (*painted_names(self.materials), self.prompt) if part)


@dataclass(frozen=True, eq=False)
class Frame:
    """A finished picture: (H, W, 3) uint8 of the same height and width as the request's paper.

    stage_ms: milliseconds by stage: upload, start, denoise, decode, download.
    notes: lines for the HUD, such as prompt words that the model does not know.
    why_not_faster: why no faster path made this frame; None: the reason on the model's card applies.
    """

    request: Request
    picture: np.ndarray
    stage_ms: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    why_not_faster: str | None = None


@dataclass(frozen=True, eq=False)
class Failure:
    """A failed request. `message` is one line for the HUD, `trace` the whole traceback."""

    request: Request
    message: str
    trace: str = ""


@dataclass(frozen=True)
class ModelCard:
    """Description of a loaded model for the window, the reports and the stroke log."""

    name: str
    family: str = "painter"
    device: str = "cpu"
    dtype: str = "float32"
    threads: int = 1
    path: str = ""  # description of the running implementation
    why_not_faster: str = ""  # why no faster path is active
    steps: tuple[int, ...] = (1, 2, 3, 4)
    default_steps: int = 1
    default_strength: float = 0.6
    licence: str = ""
    weights_hash: str = ""  # first 16 hex digits of the SHA-256 of the weights file
    understands_mood: bool = False
    understands_prompt: bool = False
    looks: tuple[str, ...] = ("scenic",)  # the LOOKS that it supports


def never() -> bool:
    """Return False: the default `cancelled`, which never cancels."""
    return False


class ProgressCallback(Protocol):
    """Callback for load progress: one line, and the share that is done (0..1) where it is known.

    It may raise Cancelled, which stops the load.
    """

    def __call__(self, line: str, share: float | None = None) -> None: ...


def no_progress(line: str, share: float | None = None) -> None:
    """Ignore load progress: the default ProgressCallback."""


class Img2Img(Protocol):
    """Interface of a model that turns a sketch into a picture. Called only by the thread that serves it."""

    @property
    def card(self) -> ModelCard: ...

    def render(self, request: Request, *, cancelled: Callable[[], bool] = never) -> Frame:
        """Render one picture. Raises ModelError, one line, for a request that cannot be served.

        cancelled: called between two steps; where it returns True, Cancelled is raised.
        """
        ...

    def rest(self) -> bool:
        """Do one piece of deferred work, such as capturing a CUDA graph or checking results.

        Called only by the serving thread, and only while no request waits; it may take as long as several
        frames. Not called for a model that serves a single request. Returns whether more work is left.
        """
        ...

    def gflop(self, height_px: int, width_px: int, steps: int) -> float:
        """Counted work of one frame in 1e9 floating-point operations (a multiply-add is two)."""
        ...

    def close(self) -> None:
        """Release memory; idempotent."""
        ...


def check_size(height_px: int, width_px: int) -> None:
    """Raise ModelError unless both sides are multiples of 32 in 256..2048."""
    for side in (height_px, width_px):
        if side % SIZE_MULTIPLE_PX or not MIN_SIZE_PX <= side <= MAX_SIZE_PX:
            raise ModelError(
                f"size {width_px}x{height_px} is not valid: each side must be a multiple of "
                f"{SIZE_MULTIPLE_PX} from {MIN_SIZE_PX} to {MAX_SIZE_PX}"
            )


def check_look(look: str) -> None:
    """Raise ModelError for a look that is not one of LOOKS."""
    if look not in LOOKS:
        raise ModelError(f"no look is named {look!r}; choose {', '.join(LOOKS)}")


def painted_names(materials: np.ndarray) -> list[str]:
    """Names of the materials (H, W) uint8 that cover at least LEAST_NAMED of a paper, the largest first."""
    counts = np.bincount(materials.ravel(), minlength=len(MATERIALS) + 1)[1 : len(MATERIALS) + 1]
    order = np.argsort(-counts, kind="stable")
    return [MATERIALS[i].name for i in order if counts[i] >= LEAST_NAMED * materials.size]


def check_steps(card: ModelCard, steps: int | None) -> None:
    """Raise ModelError for a number of steps that the model does not support. None: its usual number."""
    if steps is not None and steps not in card.steps:
        raise ModelError(f"{card.name} takes {card.steps[0]} to {card.steps[-1]} steps, not {steps}")
