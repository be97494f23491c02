"""Draws the race: the paper and the columns as tiles, each with a label and statistics below it."""

from __future__ import annotations

import cv2
import numpy as np
import pygame

from models.api import Rect
from renderer.race.column import Column
from renderer.ui.style.theme import ACCENT, BACK, BAD, EDGE, FAINT, INK, SOFT, WELL, Theme, text

LABEL_PX, FOOT_PX, GAP_PX = 50, 24, 8
REFRESH_S = 0.25  # interval at which the statistics are updated


def tiles(count: int, width: int, height: int, label_px: int, foot_px: int, gap_px: int) -> list[Rect]:
    """Boxes of `count` square tiles in a window, row by row, with space for a label below each."""
    rows = 1 if count <= 3 else 2
    across = -(-count // rows)
    side = min(
        (width - gap_px * (across + 1)) // across,
        (height - foot_px - gap_px * (rows + 1)) // rows - label_px,
    )
    side = max(16, side)
    left = (width - across * side - (across - 1) * gap_px) // 2
    found = []
    for index in range(count):
        row, column = divmod(index, across)
        x, y = left + column * (side + gap_px), gap_px + row * (side + label_px + gap_px)
        found.append(Rect(x, y, x + side, y + side))
    return found


def figure_lines(figures: dict) -> list[str]:
    """Text below a column. "alone": frame rate without the other columns; "here": in this race."""
    if figures["problem"]:
        return [figures["problem"]]
    if figures["own_ms"] is None:
        return ["waiting for its first picture"]
    lag = figures["recent_pen_to_picture_ms"]
    behind = "" if lag is None else f", latency {lag / 1000:.2f} s"
    return [
        f"{figures['own_ms']:.0f} ms a frame: {figures['own_fps']:.1f}/s alone",
        f"here {figures['race_fps']:.1f}/s{behind}",
    ]


class RaceView:
    """Redraws what changed since the last call; everything after a resize or a change of column count."""

    def __init__(self, theme: Theme | None = None):
        self.theme = theme or Theme()
        self.boxes: list[Rect] = []  # the paper's box first
        self.figures_shown: list[dict] = []  # one per column
        self._shape: tuple = ()
        self._next_s = 0.0

    def place(self, point: tuple[int, int], size: tuple[int, int]) -> tuple[float, float] | None:
        """Canvas position of a window position over any tile; None between tiles."""
        for box in self.boxes:
            if box.x0 <= point[0] < box.x1 and box.y0 <= point[1] < box.y1:
                x, y = (point[0] - box.x0) / box.width, (point[1] - box.y0) / box.height
                return x * size[0], y * size[1]
        return None

    def draw(
        self,
        surface: pygame.Surface,
        paper: np.ndarray | None,
        columns: list[Column],
        chosen: int,
        foot: str,
        now_s: float,
        seconds: float,
    ) -> None:
        """Draw the tiles. paper: (H, W, 4) uint8, or None if it did not change."""
        px = self.theme.px
        shape = (surface.get_size(), len(columns))
        anew = shape != self._shape
        if anew:
            self._shape = shape
            surface.fill(BACK)
            measures = (px(LABEL_PX), px(FOOT_PX), px(GAP_PX))
            self.boxes = tiles(len(columns) + 1, *surface.get_size(), *measures)
        if paper is not None or anew:
            self.picture(surface, self.boxes[0], None if paper is None else on_white(paper))
        for column, box in zip(columns, self.boxes[1:], strict=True):
            if column.new or anew:
                self.picture(surface, box, column.picture)
                column.new = False
        if now_s >= self._next_s or anew:
            self._next_s = now_s + REFRESH_S
            self.figures_shown = [column.figures(now_s, seconds) for column in columns]
            self.label(surface, self.boxes[0], "paper", ["input of all columns"], False, SOFT)
            for index, figures in enumerate(self.figures_shown):
                tone = BAD if figures["problem"] else SOFT
                box = self.boxes[index + 1]
                self.label(surface, box, figures["label"], figure_lines(figures), index == chosen, tone)
            self.foot(surface, foot)

    def picture(self, surface: pygame.Surface, box: Rect, pixels: np.ndarray | None) -> None:
        if pixels is None:
            pygame.draw.rect(surface, WELL, pygame.Rect(box[:2], (box.width, box.height)))
            return
        shrinks = box.width < pixels.shape[1]
        kind = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        shown = cv2.resize(pixels, (box.width, box.height), interpolation=kind)
        image = pygame.image.frombuffer(shown.tobytes(), (box.width, box.height), "RGB")
        surface.blit(image, box[:2])

    def label(
        self, surface: pygame.Surface, box: Rect, title: str, lines: list[str], chosen: bool, tone
    ) -> None:
        px = self.theme.px
        area = pygame.Rect(box.x0, box.y1, box.width, px(LABEL_PX))
        surface.fill(BACK, area)
        surface.set_clip(area)
        surface.blit(text(title, self.theme.strong, ACCENT if chosen else INK), (box.x0, box.y1 + px(1)))
        for row, words in enumerate(lines):
            surface.blit(text(words, self.theme.small, tone), (box.x0, box.y1 + px(17 + 14 * row)))
        surface.set_clip(None)

    def foot(self, surface: pygame.Surface, words: str) -> None:
        px, (width, height) = self.theme.px, surface.get_size()
        area = pygame.Rect(0, height - px(FOOT_PX), width, px(FOOT_PX))
        surface.fill(BACK, area)
        pygame.draw.line(surface, EDGE, area.topleft, area.topright)
        surface.blit(text(words, self.theme.small, FAINT), (px(GAP_PX), area.top + px(4)))


def on_white(paper: np.ndarray) -> np.ndarray:
    """Composite (H, W, 4) uint8 straight alpha on white; returns (H, W, 3) uint8."""
    alpha = paper[..., 3:].astype(np.uint16)
    return ((paper[..., :3] * alpha + 255 * (255 - alpha)) // 255).astype(np.uint8)
