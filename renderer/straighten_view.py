"""Plots of two-dimensional flows: a panel per stage with paths and samples, and a graph of straightness."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import pygame

from renderer.actions import InputError
from renderer.files.png import write_png
from renderer.recording.container import VideoFile
from renderer.recording.encoder import FINE, Encoder, planar
from renderer.ui.simple_window import SimpleWindow, is_quit
from renderer.ui.style.theme import ACCENT, BACK, CARD, EDGE, FAINT, GOOD, INK, SOFT, WELL, Theme, text

SIZE = (1280, 720)
PANEL = 408  # side of a panel
TOP, GAP = 62, 14
REACH = 2.9  # a panel shows -REACH..REACH in both directions
PATHS = 90
START, TARGET, PATH = (98, 132, 178), (92, 96, 106), (150, 118, 70)
OUTPUTS = (".png", ".mp4", ".mkv")
FPS, HOLD_S = 30, 2.0
LEAST = 1e-4  # bottom of the graph of straightness


class Snapshot(Protocol):
    """A stage of training at one moment; see models.lab.straighten.Snapshot."""

    @property
    def stage(self) -> int: ...

    @property
    def step(self) -> int: ...

    @property
    def steps(self) -> int: ...

    @property
    def bend(self) -> float: ...

    @property
    def arc(self) -> float: ...

    @property
    def one_step_distance(self) -> float: ...

    @property
    def many_step_distance(self) -> float: ...

    @property
    def starts(self) -> np.ndarray: ...

    @property
    def paths(self) -> np.ndarray: ...

    @property
    def one_step(self) -> np.ndarray: ...

    @property
    def target(self) -> np.ndarray: ...


def check_output(path: Path | None) -> None:
    """Raise InputError for a suffix of neither an image nor a video format."""
    if path is not None and path.suffix.lower() not in OUTPUTS:
        raise InputError(f"{path} must end in {', '.join(OUTPUTS[:-1])} or {OUTPUTS[-1]}")


def to_pixels(points: np.ndarray) -> np.ndarray:
    """Map points (..., 2) of the plane to (..., 2) int32 in sixteenths of a pixel of a panel."""
    pixels = (points * (1, -1) / REACH + 1) * (PANEL / 2)
    return np.clip(pixels * 16, -16 * PANEL, 32 * PANEL).round().astype(np.int32)


def panel(snapshot: Snapshot) -> np.ndarray:
    """Draw one stage, (PANEL, PANEL, 3) uint8: target and starts (dots), paths (lines), one-step samples."""
    picture = np.full((PANEL, PANEL, 3), WELL, np.uint8)
    for point in to_pixels(snapshot.target):
        cv2.circle(picture, point.tolist(), 44, TARGET, -1, cv2.LINE_AA, 4)
    for point in to_pixels(snapshot.starts[:PATHS]):
        cv2.circle(picture, point.tolist(), 40, START, -1, cv2.LINE_AA, 4)
    lines = np.ascontiguousarray(to_pixels(snapshot.paths[:, :PATHS]).swapaxes(0, 1))
    cv2.polylines(picture, list(lines), False, PATH, 1, cv2.LINE_AA, 4)
    for point in to_pixels(snapshot.one_step):
        cv2.circle(picture, point.tolist(), 38, INK, -1, cv2.LINE_AA, 4)
    return picture


class FlowPlot:
    """Draws the newest snapshot of each stage, and the history of `bend`."""

    def __init__(self, words: str):
        self.theme, self.words = Theme(), words
        self.newest: dict[int, Snapshot] = {}
        self.history: list[tuple[int, float, float]] = []  # (stage, its progress, bend)

    def add(self, snapshot: Snapshot) -> None:
        self.newest[snapshot.stage] = snapshot
        self.history.append((snapshot.stage, snapshot.step / snapshot.steps, snapshot.bend))

    def draw(self, surface: pygame.Surface) -> None:
        surface.fill(BACK)
        surface.blit(text(self.words, self.theme.font(17, bold=True), INK), (GAP, 8))
        legend = (("start", START), ("target", TARGET), ("path, 32 steps", PATH), ("one step", INK))
        x = SIZE[0] - GAP
        for word, color in reversed(legend):
            label = text(word, self.theme.body, SOFT)
            x -= label.get_width()
            surface.blit(label, (x, 14))
            pygame.draw.circle(surface, color, (x - 10, 23), 5)
            x -= 34
        for stage, name in enumerate(("1  flow", "2  reflow", "3  reflow twice")):
            self.draw_stage(surface, stage, name)
        self.draw_graph(surface, pygame.Rect(GAP, 556, SIZE[0] - 2 * GAP, 150))

    def draw_stage(self, surface: pygame.Surface, stage: int, name: str) -> None:
        left = GAP + stage * (PANEL + GAP)
        box = pygame.Rect(left, TOP, PANEL, PANEL)
        snapshot = self.newest.get(stage)
        surface.blit(text(name, self.theme.strong, ACCENT if snapshot else FAINT), (left, TOP - 22))
        pygame.draw.rect(surface, WELL, box)
        if snapshot is None:
            return
        surface.blit(pygame.surfarray.make_surface(panel(snapshot).swapaxes(0, 1)), box)
        one, many = snapshot.one_step_distance, snapshot.many_step_distance
        lines = (
            f"bend {snapshot.bend:.4f}    length over chord {snapshot.arc:.4f}",
            f"distance to the target: one step {one:.3f}, 32 steps {many:.3f}",
        )
        for row, words in enumerate(lines):
            surface.blit(text(words, self.theme.body, SOFT), (left, TOP + PANEL + 6 + 19 * row))
        done = text(f"step {snapshot.step} of {snapshot.steps}", self.theme.body, FAINT)
        surface.blit(done, (box.right - done.get_width(), TOP - 21))

    def draw_graph(self, surface: pygame.Surface, box: pygame.Rect) -> None:
        """Draw bend on a logarithmic axis against training progress of the three consecutive stages."""
        pygame.draw.rect(surface, CARD, box, border_radius=6)
        low, high = np.log10(LEAST), np.log10(30)
        inner = box.inflate(-120, -26).move(44, 0)
        for power in range(-4, 2):
            y = inner.bottom - (power - low) / (high - low) * inner.height
            pygame.draw.line(surface, EDGE, (inner.left, y), (inner.right, y))
            label = text(f"{10.0**power:g}", self.theme.small, FAINT)
            surface.blit(label, (inner.left - 8 - label.get_width(), y - 8))
        surface.blit(text("bend", self.theme.strong, SOFT), (box.left + 12, box.top + 8))
        points = [
            (
                inner.left + (stage + share) / 3 * inner.width,
                inner.bottom - (np.log10(max(bend, LEAST)) - low) / (high - low) * inner.height,
            )
            for stage, share, bend in self.history
        ]
        if len(points) > 1:
            pygame.draw.aalines(surface, GOOD, False, points)


def watch(
    snapshots: Iterable[Snapshot],
    words: str,
    *,
    headless: bool = False,
    output: Path | None = None,
    overwrite: bool = False,
) -> list:
    """Draw snapshots as they arrive. Returns the last one of each stage.

    A window stays open until the user closes it. output: a PNG of the last picture, or a video of all.
    overwrite: an existing file may be replaced.
    """
    check_output(output)
    screen = SimpleWindow("Flowbrush: flows that straighten", SIZE, headless=headless)
    try:
        board, film = FlowPlot(words), None
        if output is not None and output.suffix.lower() != ".png":
            film = VideoWriter(output)
        for _ in play(snapshots, board, screen):
            if film is not None:
                film.add(screen.pixels())
        if film is not None:
            film.close()
        elif output is not None:
            write_png(output, screen.pixels(), overwrite=overwrite)
        return [board.newest[stage] for stage in sorted(board.newest)]
    finally:
        screen.close()


def play(snapshots: Iterable[Snapshot], board: FlowPlot, screen: SimpleWindow) -> Iterator[None]:
    """Yield after each picture; after the last one wait until the window is closed."""
    clock = pygame.time.Clock()
    for snapshot in snapshots:
        if any(is_quit(event) for event in screen.poll()):
            return
        board.add(snapshot)
        board.draw(screen.surface)
        screen.flip()
        yield
    while not screen.headless and not any(is_quit(event) for event in screen.poll()):
        board.draw(screen.surface)
        screen.flip()
        clock.tick(FPS)


class VideoWriter:
    """Writes a video at FPS, one picture per call; the last one is held for HOLD_S."""

    def __init__(self, path: Path):
        self._encoder, self._number = Encoder(SIZE, FINE), 0
        self._film = VideoFile(path, self._encoder.stream)
        self._last: np.ndarray | None = None

    def add(self, picture: np.ndarray) -> None:
        self._last = planar(np.ascontiguousarray(picture[: SIZE[1], : SIZE[0]]))
        self._write(self._last)

    def _write(self, planes: np.ndarray) -> None:
        for packet in self._encoder.encode(planes, round(self._number * 1000 / FPS)):
            self._film.add(packet)
        self._number += 1

    def close(self) -> None:
        if self._last is not None:
            for _ in range(round(HOLD_S * FPS)):
                self._write(self._last)
        for packet in self._encoder.flush():
            self._film.add(packet)
        self._film.close()
        self._encoder.close()
