"""Actions of the user as dataclasses: made from events, applied to the canvas, written to the stroke log."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

Point = tuple[float, float, float]
"""x and y in canvas pixels, pressure 0..1."""


@dataclass(frozen=True)
class Symmetry:
    """Symmetry mode: strokes are mirrored about the vertical or horizontal axis through (x, y), or rotated
    about that point, count times in total. x, y: canvas pixels; pixel centres are whole numbers."""

    kind: Literal["vertical", "horizontal", "radial"]
    x: float
    y: float
    count: int = 6


@dataclass(frozen=True)
class Brush:
    """Brush settings.

    color: (r, g, b) in 0..255. hardness, opacity: 0..1. erase: remove paint, back to blank paper.
    dynamics: the settings that pen pressure controls.

    material: 0 for a free colour, else 1 + index in MATERIALS.
    """

    color: tuple[int, int, int] = (118, 169, 222)
    size_px: float = 40.0
    hardness: float = 0.8
    opacity: float = 1.0
    erase: bool = False
    material: int = 0
    dynamics: Literal["size", "opacity"] = "size"
    symmetry: Symmetry | None = None


@dataclass(frozen=True)
class Begin:
    brush: Brush
    point: Point


@dataclass(frozen=True)
class Extend:
    points: tuple[Point, ...]


@dataclass(frozen=True)
class End:
    pass


@dataclass(frozen=True)
class Line:
    brush: Brush
    start: tuple[float, float]
    stop: tuple[float, float]


@dataclass(frozen=True)
class Fill:
    """Flood fill. tolerance: 0..255, the largest difference in any channel that counts as the same colour.
    material: as in Brush."""

    color: tuple[int, int, int]
    x: float
    y: float
    tolerance: int = 24
    material: int = 0


@dataclass(frozen=True)
class Clear:
    """Clear the active layer, within the selection if there is one."""


@dataclass(frozen=True)
class Undo:
    pass


@dataclass(frozen=True)
class Redo:
    pass


@dataclass(frozen=True)
class Paste:
    """Replace the active layer with an image fitted to the canvas.

    png: bytes of an image file in any readable format. pixels, materials: the same image decoded and fitted
    on a thread, (H, W, 4) and (H, W) uint8."""

    png: bytes
    pixels: np.ndarray | None = field(default=None, compare=False, repr=False)
    materials: np.ndarray | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class PlaceImage:
    """Insert an image as a new layer above the active one; the new layer becomes active.

    png: bytes of an image file. x, y: centre of the image in canvas pixels. scale: 1 fits the canvas.
    angle: clockwise, in degrees.
    """

    png: bytes
    x: float
    y: float
    scale: float = 1.0
    angle: float = 0.0


@dataclass(frozen=True)
class OpenDocument:
    """Replace all layers with those of an OpenRaster file. ora: its bytes. stack: its decoded layers."""

    ora: bytes
    stack: object = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class LayerEdit:
    """A change of the layer stack. index: the layer, counted from the bottom.

    Operations: add a blank layer above it (value: its name or empty), delete, duplicate, merge onto the layer
    below, move (value: the new index), activate (strokes go to it). All others set a layer setting to value.
    """

    op: Literal[
        "add", "delete", "duplicate", "merge", "move", "activate",
        "name", "visible", "locked", "opacity", "blend", "alpha_lock", "reference",
    ]  # fmt: skip
    index: int = 0
    value: str | int | float = ""


@dataclass(frozen=True)
class Select:
    """Change the selection. shape: rectangle (two corners), lasso (polygon corners), material, all or none.

    mode: replace the present selection, add to it, subtract from it or intersect with it.
    """

    shape: Literal["rectangle", "lasso", "material", "all", "none"]
    points: tuple[tuple[float, float], ...] = ()
    material: int = 0
    mode: Literal["replace", "add", "subtract", "intersect"] = "replace"


@dataclass(frozen=True)
class FillSelection:
    """Fill the selection on the active layer, or the whole layer without a selection."""

    color: tuple[int, int, int]
    material: int = 0


@dataclass(frozen=True)
class MoveSelection:
    """Move the selection and its paint by whole pixels; without a selection, move all paint of the layer."""

    dx: int
    dy: int


@dataclass(frozen=True)
class Change:
    """Change a picture setting: prompt, seed, strength, steps, model, target_fps, or mood.<axis>."""

    name: str
    value: str | int | float


@dataclass(frozen=True)
class Command:
    """A command that changes no picture and is not logged: view, help, save, quit ... See `commands`."""

    name: str
    value: object = None


Edit = (
    Begin
    | Extend
    | End
    | Line
    | Fill
    | Clear
    | Undo
    | Redo
    | Paste
    | PlaceImage
    | OpenDocument
    | LayerEdit
    | Select
    | FillSelection
    | MoveSelection
)
Action = Edit | Change | Command
EDITS: tuple[type[Edit], ...] = get_args(Edit)


@dataclass(frozen=True)
class Event:
    """An action and its time, in seconds of `time.perf_counter`."""

    action: Action
    time_s: float


class InputError(Exception):
    """Invalid user input. The message is one line that says what is wrong and what to do."""
