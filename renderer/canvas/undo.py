"""Undo and redo: what each edit replaced, compressed on a thread."""

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
    """One undoable change of a stack of layers."""

    @property
    def nbytes(self) -> int:
        """Memory that it takes now."""
        ...

    def arrays(self) -> list[PackedArray]:
        """What it keeps compressed."""
        ...

    def swap(self, stack: LayerStack) -> tuple[Change, Rect]:
        """Put back what was replaced. Returns the change that does the reverse, and the Rect that changed."""
        ...


class PixelChange:
    """Pixels and materials of one layer, inside a box."""

    def __init__(self, layer: Layer, box: Rect, pixels: np.ndarray, materials: np.ndarray):
        """pixels, materials: of the whole layer, as they were before the change."""
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
    """The layers, their order, their settings, and which is active."""

    def __init__(self, stack: LayerStack):
        """Of the stack as it is now, before the change."""
        self._layers: list[tuple[Layer, LayerSettings]] = [(one, one.settings) for one in stack.layers]
        self._active = stack.active
        self.nbytes = 0  # of the layers that the change takes out of the stack

    def arrays(self) -> list[PackedArray]:
        return []

    def made(self, stack: LayerStack) -> StackChange:
        """Count what the change, which is done now, left for undo alone to keep."""
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
    """The selection."""

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
    """Several that were made as one."""

    def __init__(self, parts: Sequence[Change]):
        """parts: in the order in which they were made."""
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
    """Changes that can be undone and redone, newest last; bounded in number and in memory.

    Beside what `nbytes` counts, the next change to undo and the next to redo are kept uncompressed.
    """

    def __init__(self) -> None:
        self._undo: list[Change] = []
        self._redo: list[Change] = []
        self._key: object = None  # of the newest change
        self._prepared: list[Change] = []  # ready to be swapped without decompressing

    def __len__(self) -> int:
        """How many changes can be undone."""
        return len(self._undo)

    @property
    def nbytes(self) -> int:
        return sum(change.nbytes for change in (*self._undo, *self._redo))

    def add(self, change: Change, key: object = None) -> None:
        """A change was made; what was undone before can no longer be redone.

        key: one that follows another with the same key is undone together with it.
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
        """Keep the next change to undo and the next to redo ready, and no others."""
        following = [changes[-1] for changes in (self._undo, self._redo) if changes]
        for change in self._prepared:
            if all(change is not other for other in following):
                for array in change.arrays():
                    array.release()
        for change in following:
            for array in change.arrays():
                array.prepare()
        self._prepared = following
