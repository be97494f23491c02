"""Layers of a canvas: their pixels, materials and settings, and their order from the bottom up."""

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
    """Settings of a layer: name, visibility, opacity, blend mode and locks.

    opacity: 0..1. alpha_lock: painting changes colours, never alpha. locked: the pixels cannot be changed.
    reference: visible while painting, but excluded from the model's input.
    """

    name: str = "Layer 1"
    visible: bool = True
    locked: bool = False
    opacity: float = 1.0
    blend: Blend = "normal"
    alpha_lock: bool = False
    reference: bool = False

    def change(self, name: str, value: object) -> LayerSettings:
        """A copy with one setting changed. Raises InputError for an unknown setting or an invalid value."""
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
    """A layer. pixels: (H, W, 4) uint8, straight alpha. materials: (H, W) uint8, 0: unpainted or unknown."""

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
        """The bounding box of all painted pixels."""
        return extent(cv2.extractChannel(self.pixels, 3))

    @property
    def sheet(self) -> Sheet:
        return Sheet(self.pixels, self.materials, self.settings.opacity, self.settings.blend)

    @property
    def plain(self) -> bool:
        """Whether the layer, if it is the only one, equals its own composite."""
        settings = self.settings
        return settings.visible and settings.opacity == 1 and not settings.reference


class LayerStack:
    """An ordered stack of layers and its cached composite.

    layers: bottom first. active: index of the layer that is painted on. `compose` recomputes only the part
    that an edit changed. A single plain layer is its own composite and needs no computation.
    """

    def __init__(self, layers: list[Layer], active: int = 0):
        self.layers, self.active = layers, active
        self.selection: np.ndarray | None = None  # (H, W) uint8, or None without a selection
        self._pixels: np.ndarray | None = None  # composites; None for a single plain layer
        self._materials: np.ndarray | None = None
        self._seen: np.ndarray | None = None  # with reference layers; None without any
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
        """(H, W, 4) uint8: the composite that the model receives."""
        return self.layers[0].pixels if self._pixels is None else self._pixels

    @property
    def materials(self) -> np.ndarray:
        """(H, W) uint8: materials of the composite that the model receives."""
        return self.layers[0].materials if self._materials is None else self._materials

    @property
    def seen(self) -> np.ndarray:
        """(H, W, 4) uint8: the composite that the user sees, including reference layers."""
        return self.pixels if self._seen is None else self._seen

    def rearranged(self, box: Rect | None = None) -> None:
        """Recompose after a change of layer order or settings, inside `box` or everywhere."""
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
        """Recompute the composite inside `box`."""
        visible = [one for one in self.layers if one.settings.visible]
        if self._pixels is not None and self._materials is not None:
            painted = [one.sheet for one in visible if not one.settings.reference]
            compose(painted, box, self._pixels, self._materials)
        if self._seen is not None:
            everything = [one.sheet for one in visible]
            compose(everything, box, self._seen, np.empty(self._seen.shape[:2], np.uint8))

    def flatten_into(self, layer: Layer) -> None:
        """Write the composite to a layer, which may be part of the stack."""
        pixels, materials = self.pixels.copy(), self.materials.copy()
        layer.pixels[:], layer.materials[:] = pixels, materials

    def copy(self) -> LayerStack:
        """An independent copy of the stack."""
        made = LayerStack([layer.copy() for layer in self.layers], self.active)
        made.selection = None if self.selection is None else self.selection.copy()
        return made

    def free_name(self, stem: str = "Layer") -> str:
        """A layer name that is not in use, such as "Layer 2"."""
        names = {one.settings.name for one in self.layers}
        return next(name for n in range(1, MOST_LAYERS + 2) if (name := f"{stem} {n}") not in names)
