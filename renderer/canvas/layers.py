"""Layers of a paper: pixels, materials and settings of each, and their order from the bottom up."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import cv2
import numpy as np

from models.api import Rect
from renderer.actions import InputError
from renderer.canvas.compositing import Sheet, compose
from renderer.canvas.tools.selection import extent

Blend = Literal["normal", "multiply", "screen", "overlay"]
BLENDS: tuple[str, ...] = get_args(Blend)
MOST_LAYERS = 32
MOST_NAME_CHARS = 80


@dataclass(frozen=True)
class LayerSettings:
    """opacity: 0..1. alpha_lock: paint changes colours, never alpha. locked: nothing changes its pixels.
    reference: seen while painting, never part of what the model gets."""

    name: str = "Layer 1"
    visible: bool = True
    locked: bool = False
    opacity: float = 1.0
    blend: Blend = "normal"
    alpha_lock: bool = False
    reference: bool = False

    def change(self, name: str, value: object) -> LayerSettings:
        """The settings with one changed. Raises InputError for what is no setting, or no value of it."""
        if name in ("visible", "locked", "alpha_lock", "reference") and isinstance(value, bool | int):
            return replace(self, **{name: bool(value)})
        if name == "opacity" and isinstance(value, int | float) and 0 <= value <= 1:
            return replace(self, opacity=round(float(value), 3))
        if name == "blend" and value in BLENDS:
            return replace(self, blend=value)
        if name == "name" and isinstance(value, str) and value.strip():
            return replace(self, name=" ".join(value.split())[:MOST_NAME_CHARS])
        raise InputError(f"a layer's {name} cannot be {value!r}")


@dataclass(eq=False)
class Layer:
    """pixels: (H, W, 4) uint8, straight alpha. materials: (H, W) uint8, 0 where unpainted or unknown."""

    pixels: np.ndarray
    materials: np.ndarray
    settings: LayerSettings = field(default_factory=LayerSettings)

    @classmethod
    def blank(cls, width: int, height: int, settings: LayerSettings | None = None) -> Layer:
        pixels, materials = np.zeros((height, width, 4), np.uint8), np.zeros((height, width), np.uint8)
        return cls(pixels, materials, settings or LayerSettings())

    def copy(self, settings: LayerSettings | None = None) -> Layer:
        return Layer(self.pixels.copy(), self.materials.copy(), settings or self.settings)

    @property
    def extent(self) -> Rect:
        """The smallest box that holds all its paint."""
        return extent(cv2.extractChannel(self.pixels, 3))

    @property
    def sheet(self) -> Sheet:
        return Sheet(self.pixels, self.materials, self.settings.opacity, self.settings.blend)

    @property
    def plain(self) -> bool:
        """Alone on a paper, it is the paper."""
        settings = self.settings
        return settings.visible and settings.opacity == 1 and not settings.reference


class LayerStack:
    """layers: bottom first. active: index of the one that is painted on.

    The composite is kept; `compose` works out the part that an edit changed. A single plain layer is its own
    composite and costs nothing.
    """

    def __init__(self, layers: list[Layer], active: int = 0):
        self.layers, self.active = layers, active
        self.selection: np.ndarray | None = None  # (H, W) uint8, None for no selection
        self._pixels: np.ndarray | None = None  # composites; None while a single plain layer is one
        self._materials: np.ndarray | None = None
        self._seen: np.ndarray | None = None  # with reference layers; None where there are none
        self.rearranged()

    @property
    def layer(self) -> Layer:
        return self.layers[self.active]

    @property
    def whole(self) -> Rect:
        height, width = self.layers[0].materials.shape
        return Rect(0, 0, width, height)

    @property
    def pixels(self) -> np.ndarray:
        """(H, W, 4) uint8: what the model gets."""
        return self.layers[0].pixels if self._pixels is None else self._pixels

    @property
    def materials(self) -> np.ndarray:
        """(H, W) uint8 of the same."""
        return self.layers[0].materials if self._materials is None else self._materials

    @property
    def seen(self) -> np.ndarray:
        """(H, W, 4) uint8: what the painter sees, reference layers and all."""
        return self.pixels if self._seen is None else self._seen

    def rearranged(self, box: Rect | None = None) -> None:
        """The order of the layers or a setting changed: compose anew what may differ, `box` or all."""
        if len(self.layers) == 1 and self.layers[0].plain:
            self._pixels = self._materials = self._seen = None
            return
        shape = self.layers[0].pixels.shape
        if self._pixels is None:
            box = None
            self._pixels, self._materials = np.zeros(shape, np.uint8), np.zeros(shape[:2], np.uint8)
        referenced = any(one.settings.reference and one.settings.visible for one in self.layers)
        if not referenced:
            self._seen = None
        elif self._seen is None:
            box, self._seen = None, np.zeros(shape, np.uint8)
        self.compose(self.whole if box is None else box)

    def compose(self, box: Rect) -> None:
        """Bring the composite up to date inside `box`."""
        visible = [one for one in self.layers if one.settings.visible]
        if self._pixels is not None and self._materials is not None:
            painted = [one.sheet for one in visible if not one.settings.reference]
            compose(painted, box, self._pixels, self._materials)
        if self._seen is not None:
            everything = [one.sheet for one in visible]
            compose(everything, box, self._seen, np.empty(self._seen.shape[:2], np.uint8))

    def flatten_into(self, layer: Layer) -> None:
        """Write the composite to a layer, which may be one of the stack."""
        pixels, materials = self.pixels.copy(), self.materials.copy()
        layer.pixels[:], layer.materials[:] = pixels, materials

    def copy(self) -> LayerStack:
        """Another one that edits of this one do not reach."""
        made = LayerStack([layer.copy() for layer in self.layers], self.active)
        made.selection = None if self.selection is None else self.selection.copy()
        return made

    def free_name(self, stem: str = "Layer") -> str:
        """A name that no layer has: "Layer 2"."""
        names = {one.settings.name for one in self.layers}
        return next(name for n in range(1, MOST_LAYERS + 2) if (name := f"{stem} {n}") not in names)
