"""Pixels of the panes, cached between ticks; only changed parts are recomposed."""

from __future__ import annotations

import math
from collections.abc import Iterator

import cv2
import numpy as np
import pygame

from models.api import NOTHING, Rect
from renderer.scene import Scene
from renderer.ui.style.theme import BACK
from renderer.ui.view.layout import Pane

IVORY = (245, 241, 232)  # colour of blank paper
SLIVER = np.ones((5, 5), np.uint8)  # erased parts thinner than this are artefacts of a stroke's moving tip
BAND_PX = 64
FIBRE, GRAIN = 1.6, 1.4  # standard deviation of the paper's texture, in levels of 255


class PanePixels:
    """Composed pixels of both panes, (H, W, 3) uint8.

    paper: paint over blank paper. picture: the model's picture with wet ink over it.
    """

    def __init__(self, width: int, height: int):
        self.blank = ivory(width, height)
        self.paper, self.picture = self.blank.copy(), self.blank.copy()
        self._clean: np.ndarray | None = None  # picture without wet ink
        self._surfaces = {
            "paper": pygame.image.frombuffer(self.paper, (width, height), "RGB"),
            "picture": pygame.image.frombuffer(self.picture, (width, height), "RGB"),
        }

    @property
    def whole(self) -> Rect:
        return Rect(0, 0, self.paper.shape[1], self.paper.shape[0])

    def update(self, scene: Scene, dried: Rect) -> dict[str, Rect]:
        """Update both panes; returns the changed Rect of each, in canvas pixels."""
        changed = scene.changed.intersect(self.whole)
        shown = changed if scene.live is None else changed.union(scene.live.changed).intersect(self.whole)
        if not shown.empty:
            self.paper[shown.slices] = over(self.blank[shown.slices], scene.paper[shown.slices])
        wet, fresh = changed.union(dried), NOTHING
        if scene.picture_new and scene.picture is not None:
            self._clean, fresh = scene.picture, self.whole
            self.picture[:] = self._clean
            wet = scene.ink.box.union(dried)
        wet = wet.intersect(self.whole)
        if not wet.empty:
            self.lay_ink(wet, scene)
        if self._clean is None:  # the paper is shown until there is a picture
            wet = wet.union(shown)
            self.picture[shown.slices] = self.paper[shown.slices]
        return {"paper": shown, "picture": wet.union(fresh)}

    def refresh(self, scene: Scene) -> None:
        """Recompose everything, for a new canvas."""
        self.paper[:] = over(self.blank, scene.paper)
        self.lay_ink(self.whole, scene)

    def lay_ink(self, box: Rect, scene: Scene) -> None:
        """Composite wet paint over the picture inside `box`; before the first picture, copy the paper.

        Where paint was erased, blank paper shows until a picture of the edited paper arrives.
        """
        if self._clean is None:
            self.picture[box.slices] = self.paper[box.slices]
            return
        wet, paint = scene.ink.wet[box.slices], scene.canvas.seen[box.slices]
        alpha = cv2.extractChannel(paint, 3)
        gone = cv2.bitwise_and(wet, cv2.inRange(alpha, 0, 0))
        if cv2.countNonZero(gone):
            gone = cv2.morphologyEx(gone, cv2.MORPH_OPEN, SLIVER)
        amount = cv2.max(cv2.multiply(wet, alpha, scale=1 / 255), gone)
        picture, clean, blank = (whole[box.slices] for whole in (self.picture, self._clean, self.blank))
        for rows in bands(box.height):
            color = cv2.cvtColor(paint[rows], cv2.COLOR_RGBA2RGB)
            cv2.copyTo(blank[rows], gone[rows], color)
            share = cv2.merge([amount[rows]] * 3)
            below = cv2.multiply(clean[rows], 255 - share, scale=1 / 255)
            picture[rows] = cv2.add(below, cv2.multiply(color, share, scale=1 / 255))

    def draw(self, surface: pygame.Surface, pane: Pane, box: Rect) -> None:
        """Draw the part of a pane inside `box`, in window pixels."""
        box = box.intersect(pane.box)
        if box.empty:
            return
        left, top = pane.view.to_paper(box.x0, box.y0)
        if pane.view.upright and pane.scale == 1 and left == int(left) and top == int(top):
            inside = (int(left), int(top), box.width, box.height)
            surface.blit(self._surfaces[pane.kind], box[:2], inside)
        else:
            part = self.scaled(pane, box)
            surface.blit(pygame.image.frombuffer(part.data, (box.width, box.height), "RGB"), box[:2])

    def scaled(self, pane: Pane, box: Rect) -> np.ndarray:
        """(h, w, 3) uint8: the pane's transformed pixels inside `box`, in window pixels.

        The result does not depend on the box. Below scale 0.5 the canvas is first averaged by a power of 2.
        """
        source = self.paper if pane.kind == "paper" else self.picture
        corners = [pane.view.to_paper(x, y) for x in (box.x0, box.x1) for y in (box.y0, box.y1)]
        step = 1
        while step < 32 and step * pane.scale <= 0.5:
            step *= 2
        x0, y0 = (math.floor(min(axis)) // step * step - 2 * step for axis in zip(*corners, strict=True))
        x1, y1 = (math.ceil(max(axis) / step) * step + 2 * step for axis in zip(*corners, strict=True))
        region = Rect(x0, y0, x1, y1).intersect(self.whole)
        if region.empty:
            return np.full((box.height, box.width, 3), BACK, np.uint8)
        part = source[region.slices]
        if step > 1:
            size = (region.width // step, region.height // step)
            part = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
        # maps window pixel (i, j) of the box to its index in `part`, centre to centre
        there = np.linalg.inv(np.vstack((pane.view.matrix(), (0, 0, 1))))
        linear = there[:2, :2] / step
        offset = np.array(pane.view.to_paper(box.x0 + 0.5, box.y0 + 0.5)) - (region.x0, region.y0)
        placed = np.column_stack((linear, offset / step - 0.5))
        how = (cv2.INTER_NEAREST if pane.view.nearest else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP
        edge = cv2.BORDER_REPLICATE if pane.view.rotation_deg % 90 == 0 else cv2.BORDER_CONSTANT
        return cv2.warpAffine(part, placed, (box.width, box.height), None, how, edge, BACK)


def bands(height: int) -> Iterator[slice]:
    """Slices of BAND_PX rows, so that temporary arrays stay in the CPU cache."""
    return (slice(top, top + BAND_PX) for top in range(0, height, BAND_PX))


def over(below: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Composite (h, w, 4) RGBA over (h, w, 3); returns (h, w, 3) uint8."""
    made = np.empty(below.shape, np.uint8)
    for rows in bands(len(made)):
        if (pixels[rows, :, 3] == 255).all():  # such as a live source that covers the canvas
            made[rows] = pixels[rows, :, :3]
            continue
        alpha = pixels[rows, :, 3:].astype(np.uint16)
        mixed = pixels[rows, :, :3] * alpha
        mixed += below[rows] * (255 - alpha)
        mixed += 127
        mixed //= 255
        made[rows] = mixed
    return made


def ivory(width: int, height: int) -> np.ndarray:
    """Blank paper, (H, W, 3) uint8, with a faint texture of fibres and grain."""
    random = np.random.default_rng(11)
    fibre = cv2.GaussianBlur(random.standard_normal((height, width), np.float32), (0, 0), 6.0, sigmaY=1.2)
    grain = cv2.GaussianBlur(random.standard_normal((height, width), np.float32), (0, 0), 0.8)
    rough = cv2.addWeighted(fibre, FIBRE / fibre.std(), grain, GRAIN / grain.std(), 0)
    return cv2.merge([cv2.convertScaleAbs(rough, beta=level) for level in IVORY])
