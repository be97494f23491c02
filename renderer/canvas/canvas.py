"""The canvas: layers and the edits on them. Every edit returns the changed Rect of the composite."""

from __future__ import annotations

import numpy as np

from models.api import NOTHING, Rect
from renderer.actions import (
    Begin,
    Brush,
    Clear,
    Edit,
    End,
    Extend,
    Fill,
    FillSelection,
    InputError,
    LayerEdit,
    Line,
    MoveSelection,
    OpenDocument,
    Paste,
    PlaceImage,
    Redo,
    Select,
    Undo,
)
from renderer.canvas import layer_edits
from renderer.canvas.compositing import LEAST_ALPHA, lay_stroke, lay_stroke_format_1
from renderer.canvas.import_image import decode_paper
from renderer.canvas.layers import Layer, LayerStack
from renderer.canvas.materials import from_colors
from renderer.canvas.open_raster import read_document
from renderer.canvas.place_image import place_image
from renderer.canvas.storage.buffer_pool import BufferPool
from renderer.canvas.tools.brushes import Stroke
from renderer.canvas.tools.fill import flood_fill
from renderer.canvas.tools.selection import bounded, extent, selected, shifted
from renderer.canvas.undo import Change, Changes, PixelChange, SelectionChange, StackChange, UndoHistory
from renderer.files.images_format_1 import decode_format_1, fit_format_1

FORMAT = 2  # version of the stroke log format; decides how the edits of a log are applied


class Canvas:
    """Layers, selection, undo history and the stroke in progress.

    Owned by the drawing thread; other threads get snapshots. stack: the layers. pixels, materials: the
    composite that the model receives, without reference layers.
    """

    def __init__(self, width: int, height: int, *, format: int = FORMAT):
        """format: format of the stroke log whose edits are applied; 1 uses the rounding of the first logs."""
        self.width, self.height, self.format = width, height, format
        self.stack = LayerStack([Layer.blank(width, height)])
        self.undo_history = UndoHistory()
        self._own: LayerStack | None = None  # set while another stack is shown
        self._papers = BufferPool((height, width, 4))
        self._labels = BufferPool((height, width))
        self._stroke: Stroke | None = None
        self._touched = NOTHING
        # Copy of the active layer after the last edit. Strokes are drawn over it, and undo stores it.
        self._base = Layer.blank(width, height)
        self._base_of: Layer | None = self.stack.layer

    @property
    def whole(self) -> Rect:
        return Rect(0, 0, self.width, self.height)

    @property
    def pixels(self) -> np.ndarray:
        """(H, W, 4) uint8, straight alpha."""
        return self.stack.pixels

    @property
    def materials(self) -> np.ndarray:
        """(H, W) uint8: 0 unknown or unpainted, else 1 + index in MATERIALS."""
        return self.stack.materials

    @property
    def seen(self) -> np.ndarray:
        """(H, W, 4) uint8: the composite that the user sees, including reference layers."""
        return self.stack.seen

    @property
    def selection(self) -> np.ndarray | None:
        """(H, W) uint8 mask, or None."""
        return self.stack.selection

    @property
    def blank(self) -> bool:
        return not self.pixels[..., 3].any()

    @property
    def drawing(self) -> bool:
        """Whether a stroke is in progress."""
        return self._stroke is not None

    def snapshot(self) -> np.ndarray:
        """A read-only copy of the pixels; later edits do not change it."""
        copy = self._papers.take()
        copy[:] = self.pixels
        copy.flags.writeable = False
        return copy

    def snapshot_materials(self) -> np.ndarray:
        """A read-only copy of the materials; later edits do not change it."""
        copy = self._labels.take()
        copy[:] = self.materials
        copy.flags.writeable = False
        return copy

    def holds(self, x: float, y: float) -> bool:
        """Whether a point is inside the canvas."""
        return 0 <= x < self.width and 0 <= y < self.height

    def paint_at(self, x: float, y: float) -> tuple[tuple[int, int, int], int] | None:
        """Colour and material at a point; None outside the canvas or where nothing is painted."""
        column, row = int(x), int(y)
        if not self.holds(x, y) or not self.pixels[row, column, 3]:
            return None
        r, g, b = (int(v) for v in self.pixels[row, column, :3])
        return (r, g, b), int(self.materials[row, column])

    def show(self, stack: LayerStack) -> None:
        """Show another layer stack temporarily, without an edit; `show_own` restores the canvas's own."""
        if self._own is None:
            self.finish()
            self._own = self.stack
        self.stack, self._base_of = stack, None

    def show_own(self) -> None:
        if self._own is not None:
            self.stack, self._own, self._base_of = self._own, None, None

    def apply(self, edit: Edit) -> Rect:
        """Apply one edit. Raises InputError and leaves the canvas unchanged if the edit is impossible."""
        match edit:
            case Begin(brush, point):
                self.finish()
                return self.paint(self.begin(brush).begin(point))
            case Extend(points):
                if self._stroke is None:
                    return NOTHING
                changed = self._stroke.lift()
                for point in points:
                    changed = changed.union(self._stroke.extend(point))
                return self.paint(changed.union(self._stroke.reach()))
            case End():
                return self.finish()
            case Line(brush, start, stop):
                self.finish()
                stroke = self.begin(brush)
                box = stroke.begin((*start, 1.0))
                box = box.union(stroke.segment((*start, 1.0), (*stop, 1.0))).union(stroke.stamp(*stop, 1.0))
                return self.paint(box).union(self.finish())
            case Undo():
                self.finish()
                return self.step(self.undo_history.undo(self.stack))
            case Redo():
                self.finish()
                return self.step(self.undo_history.redo(self.stack))
        self.finish()
        match edit:
            case Fill():
                return self.fill(edit)
            case Clear():
                return self.replace(np.zeros_like(self.stack.layer.pixels), np.zeros_like(self.materials))
            case Paste():
                return self.replace(*self.decoded(edit), bounds=False)
            case FillSelection(color, material):
                full = np.empty_like(self.stack.layer.pixels)
                full[:] = (*color, 255)
                return self.replace(full, np.full_like(self.materials, material))
            case MoveSelection(dx, dy):
                return self.move(dx, dy)
            case Select():
                before = SelectionChange(self.stack)
                self.stack.selection = selected(edit, self.selection, self.materials)
                self.undo_history.add(before)
                return NOTHING
            case LayerEdit():
                change = layer_edits.carry_out(edit, self.stack)
                if change is not None:
                    self.undo_history.add(change, key=layer_edits.key(edit))
                self._base_of = None
                return NOTHING if edit.op in ("activate", "name", "locked", "alpha_lock") else self.whole
            case PlaceImage():
                self.undo_history.add(place_image(edit, self.stack))
                self._base_of = None
                return self.stack.layer.extent
            case OpenDocument(ora, stack):
                return self.open(ora, stack)
        raise TypeError(f"not an edit: {edit!r}")

    def begin(self, brush: Brush) -> Stroke:
        """Begin a stroke on the active layer."""
        self.base()
        self._stroke = Stroke(brush, np.zeros((self.height, self.width), np.uint8))
        return self._stroke

    def base(self) -> Layer:
        """The active layer after the last edit. Raises InputError if the layer cannot be painted on."""
        layer = self.stack.layer
        if layer.settings.locked or not layer.settings.visible:
            state = "locked" if layer.settings.locked else "hidden"
            raise InputError(f"the layer {layer.settings.name!r} is {state}: nothing can be painted on it")
        if self._base_of is not layer:
            self._base.pixels[:], self._base.materials[:] = layer.pixels, layer.materials
            self._base_of = layer
        return self._base

    def paint(self, box: Rect) -> Rect:
        """Composite the stroke's coverage over the layer's state before the stroke, inside `box`."""
        if box.empty or self._stroke is None:
            return NOTHING
        self._touched = self._touched.union(box)
        for part in self._stroke.take_boxes(box):
            self.paint_part(self._stroke, part)
        return box

    def paint_part(self, stroke: Stroke, box: Rect) -> None:
        layer, brush, inside = self.stack.layer, stroke.brush, box.slices
        before, labels = self._base.pixels[inside], self._base.materials[inside]
        cover = bounded(stroke.cover(box), self.selection, box)
        if self.format == 1:
            layer.pixels[inside] = made = lay_stroke_format_1(before, cover, brush)
            mostly = cover.astype(np.uint16) * brush.opacity >= 127.5
            labels = labels if brush.erase else np.where(mostly, np.uint8(brush.material), labels)
            layer.materials[inside] = labels * (made[..., 3] > 0)
        else:
            layer.pixels[inside], layer.materials[inside] = lay_stroke(
                before, labels, cover, brush, alpha_lock=layer.settings.alpha_lock
            )
        self.stack.compose(box)

    def finish(self) -> Rect:
        """End the stroke in progress, if any, and add it to the undo history."""
        if self._stroke is None:
            return NOTHING
        changed = self.paint(self._stroke.lift().union(self._stroke.end()))
        touched, self._stroke, self._touched = self._touched, None, NOTHING
        self.commit(touched)
        return changed

    def commit(self, box: Rect, *more: Change) -> Rect:
        """Compose a change of the active layer inside `box` and add it to the undo history."""
        if box.empty:
            return box
        layer, base = self.stack.layer, self._base
        change = PixelChange(layer, box, base.pixels, base.materials)
        self.undo_history.add(Changes([change, *more]) if more else change)
        base.pixels[box.slices] = layer.pixels[box.slices]
        base.materials[box.slices] = layer.materials[box.slices]
        self.stack.compose(box)
        return box

    def step(self, box: Rect) -> Rect:
        """Invalidate the base layer after an undo or redo, which changes layers but not their base."""
        self._base_of = None
        return box

    def fill(self, edit: Fill) -> Rect:
        x, y = int(edit.x), int(edit.y)
        if not (0 <= x < self.width and 0 <= y < self.height):
            return NOTHING
        self.base()
        layer = self.stack.layer
        box, mostly = flood_fill(
            layer.pixels, (x, y), color=edit.color, tolerance=edit.tolerance, within=self.selection
        )
        if layer.settings.alpha_lock and not box.empty:
            alpha = self._base.pixels[box.slices][..., 3]
            layer.pixels[box.slices][..., 3] = alpha
            layer.pixels[box.slices][alpha == 0] = 0
            mostly &= alpha > 0
        if not box.empty:
            layer.materials[box.slices][mostly] = edit.material
        return self.commit(box)

    def replace(self, pixels: np.ndarray, materials: np.ndarray, *, bounds: bool = True) -> Rect:
        """Replace the active layer's pixels; only inside the selection if the selection bounds them."""
        self.base()
        layer, mask = self.stack.layer, self.selection if bounds else None
        box = self.whole if mask is None else extent(mask)
        if box.empty:
            return box
        inside = box.slices
        made, labels = pixels[inside], materials[inside]
        if mask is not None:
            made, labels = blend_masked(
                (layer.pixels[inside], layer.materials[inside]), (made, labels), mask[inside]
            )
        if layer.settings.alpha_lock and bounds:
            made = np.dstack((made[..., :3], layer.pixels[inside][..., 3]))
            made[made[..., 3] == 0] = 0
            labels = labels * (made[..., 3] > 0)
        layer.pixels[inside], layer.materials[inside] = made, labels
        return self.commit(box)

    def move(self, dx: int, dy: int) -> Rect:
        """Move the selected pixels of the active layer together with the selection."""
        self.base()
        layer, mask = self.stack.layer, self.selection
        held = np.full((self.height, self.width), 255, np.uint8) if mask is None else mask
        pixels, labels = np.zeros_like(layer.pixels), np.zeros_like(layer.materials)
        lifted, lifted_labels = blend_masked((pixels, labels), (layer.pixels, layer.materials), held)
        left, left_labels = blend_masked((layer.pixels, layer.materials), (pixels, labels), held)
        lifted, lifted_labels = shifted(lifted, dx, dy), shifted(lifted_labels, dx, dy)
        top, below = Layer(lifted, lifted_labels), Layer(left, left_labels)
        LayerStack([below, top]).flatten_into(layer)
        before = SelectionChange(self.stack)
        if mask is not None:
            self.stack.selection = shifted(mask, dx, dy)
        return self.commit(self.whole, before)

    def open(self, ora: bytes, stack: object = None) -> Rect:
        """Replace all layers with the layers of a document. Raises InputError."""
        size = self.width, self.height
        read = stack if isinstance(stack, LayerStack) else read_document(ora, size).stack
        if (read.whole.width, read.whole.height) != (self.width, self.height):
            raise InputError(f"the document is {read.whole.width}x{read.whole.height}, the paper is not")
        before = StackChange(self.stack)
        copies = [layer.copy() for layer in read.layers]
        self.stack.layers, self.stack.active = copies, read.active
        self.stack.rearranged()
        self.undo_history.add(before.made(self.stack))
        self._base_of = None
        return self.whole

    def decoded(self, paste: Paste) -> tuple[np.ndarray, np.ndarray]:
        """(pixels, materials) of an image, fitted to the canvas size. Raises InputError."""
        if self.format == 1:
            pixels = fit_format_1(decode_format_1(paste.png), self.width, self.height)
            return pixels, from_colors(pixels)
        if paste.pixels is not None and paste.pixels.shape == self.pixels.shape:
            labels = paste.materials
            return paste.pixels, from_colors(paste.pixels) if labels is None else labels
        return decode_paper(paste.png, (self.width, self.height))


def blend_masked(
    before: tuple[np.ndarray, np.ndarray], after: tuple[np.ndarray, np.ndarray], mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Blend (pixels, materials) by a mask: 255 gives `after`, 0 gives `before`, between mixes by alpha."""
    if mask.min() == 255:
        return after
    share = mask.astype(np.float32)[..., None] / 255
    old, new = (pixels.astype(np.float32) for pixels, _ in (before, after))
    alpha = old[..., 3:] * (1 - share) + new[..., 3:] * share
    paint = old[..., :3] * old[..., 3:] * (1 - share) + new[..., :3] * new[..., 3:] * share
    np.divide(paint, alpha, out=paint, where=alpha > 0)
    made = np.rint(np.concatenate((paint, alpha), 2)).astype(np.uint8)
    made[made[..., 3] < LEAST_ALPHA] = 0
    labels = np.where(mask >= 128, after[1], before[1]) * (made[..., 3] > 0)
    return made, labels.astype(np.uint8)
