"""Undo and redo: the data that each edit replaced, compressed on a background thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from models.api import NOTHING, Rect
from renderer.canvas.layers import Layer, LayerSettings, LayerStack
from renderer.canvas.storage.compression import PackedArray

UNDO_DEPTH = 128
UNDO_BYTES = 256 << 20


class Change(Protocol):
    """One undoable change of a layer stack."""

    @property
    def nbytes(self) -> int:
        """Current size in bytes."""
        ...

    def arrays(self) -> list[PackedArray]:
        """The arrays that the change stores compressed."""
        ...

    def swap(self, stack: LayerStack) -> tuple[Change, Rect]:
        """Restore the replaced data. Returns the inverse change and the changed Rect."""
        ...


class PixelChange:
    """Change of the pixels and materials of one layer inside a box."""

    def __init__(self, layer: Layer, box: Rect, pixels: np.ndarray, materials: np.ndarray):
        """pixels, materials: of the whole layer, before the change."""
        self.layer, self.box = layer, box
        self._pixels, self._materials = PackedArray(pixels[box.slices]), PackedArray(materials[box.slices])

    @property
    def nbytes(self) -> int:
        return self._pixels.nbytes + self._materials.nbytes

    def arrays(self) -> list[PackedArray]:
        return [self._pixels, self._materials]

    def swap(self, stack: LayerStack) -> tuple[Change, Rect]:
        inverse = PixelChange(self.layer, self.box, self.layer.pixels, self.layer.materials)
        self.layer.pixels[self.box.slices] = self._pixels.unpack()
        self.layer.materials[self.box.slices] = self._materials.unpack()
        stack.compose(self.box)
        return inverse, self.box


class StackChange:
    """Change of the layers, their order, their settings or the active layer."""

    def __init__(self, stack: LayerStack):
        """Store the state of the stack; call it before the change."""
        self._layers: list[tuple[Layer, LayerSettings]] = [(one, one.settings) for one in stack.layers]
        self._active = stack.active
        self.nbytes = 0  # of the layers that the change removes from the stack

    def arrays(self) -> list[PackedArray]:
        return []

    def made(self, stack: LayerStack) -> StackChange:
        """After the change, count the memory of the layers that only this undo step still holds."""
        there = {id(layer) for layer in stack.layers}
        gone = [layer for layer, _ in self._layers if id(layer) not in there]
        self.nbytes = sum(layer.pixels.nbytes + layer.materials.nbytes for layer in gone)
        return self

    def swap(self, stack: LayerStack) -> tuple[Change, Rect]:
        inverse = StackChange(stack)
        stack.layers = [layer for layer, _ in self._layers]
        for layer, settings in self._layers:
            layer.settings = settings
        stack.active = self._active
        stack.rearranged()
        return inverse.made(stack), stack.whole


class SelectionChange:
    """Change of the selection."""

    def __init__(self, stack: LayerStack):
        self._mask = None if stack.selection is None else PackedArray(stack.selection)

    @property
    def nbytes(self) -> int:
        return self._mask.nbytes if self._mask is not None else 0

    def arrays(self) -> list[PackedArray]:
        return [] if self._mask is None else [self._mask]

    def swap(self, stack: LayerStack) -> tuple[Change, Rect]:
        inverse = SelectionChange(stack)
        stack.selection = None if self._mask is None else self._mask.unpack().copy()
        return inverse, NOTHING


class Changes:
    """Several changes that are undone as one."""

    def __init__(self, parts: Sequence[Change]):
        """parts: the changes in the order in which they were made."""
        self._parts = parts

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in self._parts)

    def arrays(self) -> list[PackedArray]:
        return [array for part in self._parts for array in part.arrays()]

    def swap(self, stack: LayerStack) -> tuple[Change, Rect]:
        inverse, changed = [], NOTHING
        for part in reversed(self._parts):
            back, box = part.swap(stack)
            inverse.append(back)
            changed = changed.union(box)
        return Changes(inverse), changed


class UndoHistory:
    """Changes that can be undone and redone, newest last; limited in number and in memory.

    In addition to `nbytes`, the next change to undo and the next to redo are kept uncompressed.
    """

    def __init__(self) -> None:
        self._undo: list[Change] = []
        self._redo: list[Change] = []
        self._key: object = None  # key of the newest change
        self._prepared: list[Change] = []  # changes kept uncompressed

    def __len__(self) -> int:
        """Number of changes that can be undone."""
        return len(self._undo)

    @property
    def nbytes(self) -> int:
        return sum(change.nbytes for change in (*self._undo, *self._redo))

    def add(self, change: Change, key: object = None) -> None:
        """Add a change and clear the redo list.

        key: consecutive changes with the same key are undone together.
        """
        self._redo.clear()
        if key is not None and key == self._key:
            return
        self._undo.append(change)
        self._key = key
        while len(self._undo) > UNDO_DEPTH or (len(self._undo) > 1 and self.nbytes > UNDO_BYTES):
            self._undo.pop(0)
        self._prepare()

    def undo(self, stack: LayerStack) -> Rect:
        return self._step(self._undo, self._redo, stack)

    def redo(self, stack: LayerStack) -> Rect:
        return self._step(self._redo, self._undo, stack)

    def _step(self, source: list[Change], target: list[Change], stack: LayerStack) -> Rect:
        self._key = None
        if not source:
            return NOTHING
        inverse, box = source.pop().swap(stack)
        target.append(inverse)
        self._prepare()
        return box

    def _prepare(self) -> None:
        """Keep only the next change to undo and the next to redo uncompressed."""
        following = [changes[-1] for changes in (self._undo, self._redo) if changes]
        for change in self._prepared:
            if all(change is not other for other in following):
                for array in change.arrays():
                    array.release()
        for change in following:
            for array in change.arrays():
                array.prepare()
        self._prepared = following
