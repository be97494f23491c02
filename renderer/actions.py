"""Everything a hand can do, as values: what events become, the canvas applies, and the stroke log keeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

Point = tuple[float, float, float]
"""x and y in canvas pixels, pressure 0..1."""


@dataclass(frozen=True)
class Symmetry:
    """Strokes are painted several times: mirrored about the vertical or horizontal axis through (x, y), or
    turned about it, count times in all. x, y: canvas pixels, pixel centres are whole numbers."""

    kind: Literal["vertical", "horizontal", "radial"]
    x: float
    y: float
    count: int = 6


@dataclass(frozen=True)
class Brush:
    """color: (r, g, b) in 0..255. hardness, opacity: 0..1. erase: takes paint away, back to blank paper.
    dynamics: what pressure drives.

    material: what the paint stands for, 0 for a free colour, else 1 + index in MATERIALS.
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
    """tolerance: 0..255, the largest difference in any channel that still counts as the same colour.
    material: as of a Brush."""

    color: tuple[int, int, int]
    x: float
    y: float
    tolerance: int = 24
    material: int = 0


@dataclass(frozen=True)
class Clear:
    """Make the active layer blank, inside the selection where there is one."""


@dataclass(frozen=True)
class Undo:
    pass


@dataclass(frozen=True)
class Redo:
    pass


@dataclass(frozen=True)
class Paste:
    """png: an image file's bytes, of any format that can be read; it is fitted to the canvas and replaces the
    active layer. pixels, materials: the same decoded and fitted by a thread, (H, W, 4) and (H, W) uint8."""

    png: bytes
    pixels: np.ndarray | None = field(default=None, compare=False, repr=False)
    materials: np.ndarray | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class PlaceImage:
    """Lay an image down as a layer of its own, above the active one, which it becomes.

    png: an image file's bytes. x, y: where its middle goes, in canvas pixels. scale: of the size at which it
    fits the canvas. angle: clockwise, in degrees.
    """

    png: bytes
    x: float
    y: float
    scale: float = 1.0
    angle: float = 0.0


@dataclass(frozen=True)
class OpenDocument:
    """ora: bytes of an OpenRaster file, whose layers replace all layers. stack: the same, read already."""

    ora: bytes
    stack: object = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class LayerEdit:
    """One change of the layers. index: the layer, from the bottom.

    add: a blank layer above it, value is its name or empty. delete. duplicate. merge: onto the one below.
    move: value is the new index. activate: it is painted on from now on. All others set a setting to value.
    """

    op: Literal[
        "add", "delete", "duplicate", "merge", "move", "activate",
        "name", "visible", "locked", "opacity", "blend", "alpha_lock", "reference",
    ]  # fmt: skip
    index: int = 0
    value: str | int | float = ""


@dataclass(frozen=True)
class Select:
    """Change the selection. shape: rectangle (two corners), lasso (its corners), material, all or none.

    mode: replace, add, subtract or intersect, with the selection before.
    """

    shape: Literal["rectangle", "lasso", "material", "all", "none"]
    points: tuple[tuple[float, float], ...] = ()
    material: int = 0
    mode: Literal["replace", "add", "subtract", "intersect"] = "replace"


@dataclass(frozen=True)
class FillSelection:
    """Fill the selection on the active layer; the whole layer where there is no selection."""

    color: tuple[int, int, int]
    material: int = 0


@dataclass(frozen=True)
class MoveSelection:
    """Move the selection and the paint in it by whole pixels; without a selection all paint of the layer."""

    dx: int
    dy: int


@dataclass(frozen=True)
class Change:
    """A setting of the picture: prompt, seed, strength, steps, model, target_fps, or mood.<axis>."""

    name: str
    value: str | int | float


@dataclass(frozen=True)
class Command:
    """What changes no picture and is not logged: a view, help, save, quit ... `commands` carries it out."""

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
    """An action, and when the user did it, in seconds of `time.perf_counter`."""

    action: Action
    time_s: float


class InputError(Exception):
    """Bad input of the user. The message is one line that says what is wrong and what to do."""
