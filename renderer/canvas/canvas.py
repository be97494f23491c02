"""The paper: RGBA pixels, the edits of a hand, their undoing. Every edit returns the Rect it changed."""

from __future__ import annotations

import zlib
from typing import NamedTuple

import cv2
import numpy as np

from models.api import NOTHING, ModelError, Rect, check_size
from renderer.actions import Begin, Clear, Edit, End, Extend, Fill, InputError, Line, Paste, Redo, Undo
from renderer.canvas.brushes import Stroke
from renderer.canvas.buffer_pool import Kept, Pool, aside

UNDO_DEPTH = 128
UNDO_BYTES = 256 << 20
COMPRESS_FROM_BYTES = 1 << 14
SEAM_PX = 2  # a fill goes so far under what it meets,
SOFTEST_PX = 150  # and up its soft edge, which is no wider
MAX_IMAGE_PIXELS = 64_000_000


class Patch(NamedTuple):
    """Pixels that an edit replaced: where, and what stood there, compressed where that pays."""

    box: Rect
    data: Kept
    packed: bool

    @classmethod
    def of(cls, pixels: np.ndarray, box: Rect) -> Patch:
        raw = np.ascontiguousarray(pixels[box.slices])
        if raw.nbytes < COMPRESS_FROM_BYTES:
            return cls(box, aside(raw.tobytes()), False)
        return cls(box, aside(zlib.compress(raw, 1)), True)

    def restore(self, pixels: np.ndarray) -> None:
        raw = zlib.decompress(self.data) if self.packed else self.data
        pixels[self.box.slices] = np.frombuffer(raw, np.uint8).reshape(self.box.height, self.box.width, 4)


class Canvas:
    """pixels: (H, W, 4) uint8, straight alpha, owned by the thread that draws. Others get snapshots."""

    def __init__(self, width: int, height: int):
        self.width, self.height = width, height
        self.pixels = np.zeros((height, width, 4), np.uint8)
        self._papers = Pool(self.pixels.shape)
        self._undo: list[Patch] = []
        self._redo: list[Patch] = []
        self._stroke: Stroke | None = None
        self._before = self.pixels  # the paper as it was when the stroke began
        self._touched = NOTHING

    @property
    def whole(self) -> Rect:
        return Rect(0, 0, self.width, self.height)

    @property
    def blank(self) -> bool:
        return not self.pixels[..., 3].any()

    @property
    def drawing(self) -> bool:
        """A stroke is under way."""
        return self._stroke is not None

    def snapshot(self) -> np.ndarray:
        """A read-only copy that later edits do not reach."""
        copy = self._papers.take()
        copy[:] = self.pixels
        copy.flags.writeable = False
        return copy

    def color_at(self, x: float, y: float) -> tuple[int, int, int] | None:
        """The paint's colour at a point; None off the paper or where nothing is painted."""
        column, row = int(x), int(y)
        if not (0 <= column < self.width and 0 <= row < self.height) or not self.pixels[row, column, 3]:
            return None
        return tuple(int(v) for v in self.pixels[row, column, :3])

    def apply(self, edit: Edit) -> Rect:
        """Do what the hand did. Raises InputError for a bad image; the paper stays as it was."""
        match edit:
            case Begin(brush, point):
                self.finish()
                self._before = self.snapshot()
                self._stroke = Stroke(brush, np.zeros((self.height, self.width), np.uint8))
                return self.paint(self._stroke.begin(point))
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
                self._before = self.snapshot()
                self._stroke = stroke = Stroke(brush, np.zeros((self.height, self.width), np.uint8))
                box = stroke.begin((*start, 1.0))
                box = box.union(stroke.segment((*start, 1.0), (*stop, 1.0))).union(stroke.stamp(*stop, 1.0))
                return self.paint(box).union(self.finish())
            case Fill(color, x, y, tolerance):
                return self.fill(color, int(x), int(y), tolerance)
            case Clear():
                return self.replace(np.zeros_like(self.pixels))
            case Paste(png):
                return self.replace(fit(decode(png), self.width, self.height))
            case Undo():
                return self.step(self._undo, self._redo)
            case Redo():
                return self.step(self._redo, self._undo)
        raise TypeError(f"not an edit: {edit!r}")

    def paint(self, box: Rect) -> Rect:
        """Lay the stroke's coverage over the paper as it was before the stroke, inside `box`."""
        if box.empty:
            return box
        self._touched = self._touched.union(box)
        brush = self._stroke.brush
        before = self._before[box.slices]
        cover = self._stroke.cover(box).astype(np.float32)
        cover *= brush.opacity / 255
        alpha = before[..., 3] * np.float32(1 / 255)
        out = self.pixels[box.slices]
        if brush.erase:
            out[..., 3] = np.rint(before[..., 3] * (1 - cover))
            out[..., :3] = np.where(out[..., 3:] > 0, before[..., :3], 0)
            return box
        total = cover + alpha * (1 - cover)
        share = np.divide(cover, total, out=np.zeros_like(cover), where=total > 0)[..., None]
        old = before[..., :3].astype(np.float32)
        old += (np.array(brush.color, np.float32) - old) * share
        out[..., :3] = np.rint(old)
        out[..., 3] = np.rint(total * 255)
        return box

    def finish(self) -> Rect:
        """End the stroke under way, if any, and remember how to undo it."""
        if self._stroke is None:
            return NOTHING
        changed = self.paint(self._stroke.lift().union(self._stroke.end()))
        if not self._touched.empty:
            self.remember(Patch.of(self._before, self._touched))
        self._stroke, self._before, self._touched = None, self.pixels, NOTHING
        return changed

    def fill(self, color: tuple[int, int, int], x: int, y: int, tolerance: int) -> Rect:
        self.finish()
        if not (0 <= x < self.width and 0 <= y < self.height):
            return NOTHING
        apart = np.abs(self.pixels.astype(np.int16) - self.pixels[y, x].astype(np.int16))
        if not self.pixels[y, x, 3]:
            apart = apart[..., 3:]  # blank paper has no colour
        alike = (apart.max(-1) <= tolerance).astype(np.uint8)
        _, regions, stats, _ = cv2.connectedComponentsWithStats(alike, connectivity=4)
        number = regions[y, x]
        left, top, width, height = (int(v) for v in stats[number][:4])
        near = Rect(left, top, left + width, top + height).grow(SOFTEST_PX).intersect(self.whole)
        part = self.pixels[near.slices]
        inside = (regions[near.slices] == number).astype(np.uint8)
        under, reach = climb(inside, part[..., 3])
        box = extent(under, near)
        self.remember(Patch.of(self.pixels, box))
        seam = (under > inside) & (part[..., 3] < 255) & (part[..., 3] > 0)
        top = cv2.dilate(part[..., 3], np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
        part[seam] = laid_under(part[seam], top[seam], color)
        part[inside > 0] = (*color, 255)
        return box

    def replace(self, pixels: np.ndarray) -> Rect:
        self.finish()
        self.remember(Patch.of(self.pixels, self.whole))
        self.pixels[:] = pixels
        return self.whole

    def remember(self, patch: Patch) -> None:
        self._undo.append(patch)
        self._redo.clear()
        while len(self._undo) > UNDO_DEPTH or sum(len(p.data) for p in self._undo) > UNDO_BYTES:
            self._undo.pop(0)

    def step(self, source: list[Patch], target: list[Patch]) -> Rect:
        self.finish()
        if not source:
            return NOTHING
        patch = source.pop()
        target.append(Patch.of(self.pixels, patch.box))
        patch.restore(self.pixels)
        return patch.box


def extent(marked: np.ndarray, box: Rect) -> Rect:
    """The part of the box that holds all its marked pixels, (h, w) uint8 not 0."""
    x, y, width, height = cv2.boundingRect(marked)
    return Rect(box.x0 + x, box.y0 + y, box.x0 + x + width, box.y0 + y + height) if width else NOTHING


def climb(inside: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, int]:
    """(h, w) uint8 region of ones, widened by a seam and by what rises from it: the soft edge of a stroke.

    Returns it and by how many pixels it grew.
    """
    near = np.ones((3, 3), np.uint8)
    wide = cv2.dilate(inside, np.ones((2 * SEAM_PX + 1, 2 * SEAM_PX + 1), np.uint8))
    reach = SEAM_PX
    while reach < SEAM_PX + SOFTEST_PX:
        lowest = cv2.erode(cv2.max(alpha, 255 * (1 - wide)), near)  # of the neighbours within
        wider = cv2.max(wide, ((alpha > lowest) & (alpha < 255)).view(np.uint8))
        if np.array_equal(wider, wide):
            break
        wide, reach = wider, reach + 1
    return wide, reach


def laid_under(paint: np.ndarray, top: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """(n, 4) uint8 edge of a stroke -> the same over an opaque colour.

    top: (n,) uint8 alpha of the stroke within its edge, which stays as it is: thin paint over blank paper.
    """
    alpha, top = paint[:, 3:].astype(np.float32) / 255, top[:, None].astype(np.float32) / 255
    free = 1 - alpha / top
    total = free + alpha
    mixed = (np.array(color, np.float32) * free + paint[:, :3] * alpha) / total
    return np.rint(np.concatenate((mixed, 255 * total), 1)).astype(np.uint8)


def decode(data: bytes) -> np.ndarray:
    """Bytes of an image file -> (H, W, 4) uint8 RGBA. Raises InputError for no image, or too large a one."""
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    except cv2.error as error:
        raise InputError(
            f"this image cannot be used: it is over {MAX_IMAGE_PIXELS / 1e6:.0f} megapixels"
        ) from error
    if image is None:
        raise InputError("this file is not an image that can be read; use PNG, JPEG, WebP, BMP or TIFF")
    if image.shape[0] * image.shape[1] > MAX_IMAGE_PIXELS:
        raise InputError(
            f"this image is {image.shape[1]}x{image.shape[0]}, over {MAX_IMAGE_PIXELS / 1e6:.0f} megapixels; "
            "make it smaller first"
        )
    if image.dtype != np.uint8:
        top = np.iinfo(image.dtype).max if image.dtype.kind == "u" else 1.0
        image = np.rint(np.clip(image / top, 0, 1) * 255).astype(np.uint8)
    if image.ndim == 2:
        image = image[..., None]
    if image.shape[2] <= 2:
        gray, alpha = image[..., :1], image[..., 1:]
        image = np.concatenate((gray, gray, gray, alpha), 2)
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGBA if image.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)
    image[image[..., 3] == 0] = 0  # what cannot be seen has no colour
    return image


def paper_of(data: bytes, side: int | None) -> np.ndarray:
    """An image file -> (H, W, 4) uint8 RGBA: of this side, or as it is if that will do, else 512x512."""
    image = decode(data)
    height, width = image.shape[:2] if side is None else (side, side)
    try:
        check_size(height, width)
    except ModelError:
        height = width = 512
    return np.ascontiguousarray(fit(image, width, height))


def fit(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Scale to cover width x height and cut the rest off evenly; unchanged where the size is right."""
    rows, columns = image.shape[:2]
    if (columns, rows) == (width, height):
        return image
    scale = max(width / columns, height / rows)
    size = (max(width, round(columns * scale)), max(height, round(rows * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    weights = image[..., 3:].astype(np.float32) * (1 / 255)
    alpha = cv2.resize(weights, size, interpolation=how)
    paint = cv2.resize(image[..., :3] * weights, size, interpolation=how) / np.maximum(alpha, 1e-3)[..., None]
    image = np.clip(np.rint(np.dstack((paint, alpha * 255))), 0, 255).astype(np.uint8)
    image[image[..., 3] == 0] = 0
    x, y = (size[0] - width) // 2, (size[1] - height) // 2
    return image[y : y + height, x : x + width]
