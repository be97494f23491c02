"""The HUD: frame rates, latency, stage times, execution path and a graph of the last latencies."""

from __future__ import annotations

import numpy as np
import pygame

from renderer.runtime.latency import GRAPH, RunStatistics, percentiles
from renderer.scene import Scene
from renderer.sources.live_view import LiveView
from renderer.ui.overlay import elided
from renderer.ui.style.theme import ACCENT, BAD, CARD, FAINT, GOOD, INK, SOFT, WELL, Theme, rounded, text

REFRESH_S = 0.25
STAGES = ("upload", "start", "denoise", "decode", "download", "network")
STAGE_COLORS = ((96, 120, 150), (126, 170, 190), ACCENT, (196, 120, 110), (120, 110, 150), (150, 150, 90))
SLOW_MS = 50  # latency above this is visible as lag
TOPS_MS = (50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 20000.0)


class Hud:
    """The HUD. Drawn four times a second; the last surface is reused in between."""

    def __init__(self, theme: Theme):
        self.theme = theme
        self._next_s = 0.0
        self._surface: pygame.Surface | None = None

    def surface(self, scene: Scene, size: tuple[int, int], now_s: float) -> tuple[pygame.Surface, bool]:
        """Returns the HUD's surface, and whether it was redrawn."""
        if self._surface is not None and now_s < self._next_s and self._surface.get_size() == size:
            return self._surface, False
        self._next_s = now_s + REFRESH_S
        px = self.theme.px
        self._surface = surface = pygame.Surface(size)
        surface.fill(CARD)
        width = min(px(2 * GRAPH), size[0] - px(470))
        self.figures(surface, scene.stats, scene.live, now_s)
        self.stages(surface, scene.stats, pygame.Rect(px(16), px(62), px(420), px(5)))
        shown = width > px(120)
        self.path(surface, scene, size[0] - px(28) - (width + px(14)) * shown)
        if shown:
            graph = pygame.Rect(size[0] - width - px(10), px(10), width, size[1] - px(20))
            self.graph(surface, scene.stats, graph)
        return surface, True

    def figures(
        self, surface: pygame.Surface, stats: RunStatistics, live: LiveView | None, now_s: float
    ) -> None:
        px, step = self.theme.px, 108 if live is None else 90
        recent = percentiles(list(stats.recent_ms))
        shown = [
            (f"{stats.model_fps(now_s):.0f}", "/s", "model frames"),
            (f"{stats.shown_fps(now_s):.0f}", "/s", "shown frames"),
            (*duration(recent["p50"]), "latency, median"),
            (*duration(recent["p95"]), "95th percentile"),
        ]
        if live is not None:  # latency from capture to display
            shown.append((*duration(percentiles(live.recent_ms)["p50"]), "from capture"))
        for i, (value, unit, name) in enumerate(shown):
            x = px(16 + i * step)
            figure = text(value, self.theme.figure, INK)
            surface.blit(figure, (x, px(2)))
            surface.blit(text(unit, self.theme.body, SOFT), (x + figure.get_width() + px(3), px(16)))
            surface.blit(text(name, self.theme.small, FAINT), (x, px(36)))

    def stages(self, surface: pygame.Surface, stats: RunStatistics, box: pygame.Rect) -> None:
        """Draw one bar, divided into the stages of a frame."""
        px, medians = self.theme.px, stats.stage_medians(GRAPH)
        total = sum(medians.values())
        if not total:
            return
        x = float(box.x)
        for name, color in zip(STAGES, STAGE_COLORS, strict=True):
            wide = medians.get(name, 0.0) / total * box.width
            pygame.draw.rect(surface, color, (round(x), box.y, round(x + wide) - round(x), box.height))
            x += wide
        at = box.x
        for name, color in zip(STAGES, STAGE_COLORS, strict=True):
            if name not in medians:
                continue
            pygame.draw.circle(surface, color, (at + px(3), box.bottom + px(10)), px(3))
            words = text(f"{name} {medians[name]:.1f}", self.theme.small, SOFT)
            surface.blit(words, (at + px(10), box.bottom + px(3)))
            at += words.get_width() + px(20)
        surface.blit(text("ms", self.theme.small, FAINT), (at, box.bottom + px(3)))

    def path(self, surface: pygame.Surface, scene: Scene, width: int) -> None:
        px, card, stats = self.theme.px, scene.card, scene.stats
        if card is not None:
            line = f"{card.name}  {card.device} {card.dtype}, {threads(card.threads)}. {card.path}"
        else:
            line = scene.status.text
        why = card.why_not_faster if card is not None else ""
        if card is not None and scene.why_not_faster is not None:
            why = scene.why_not_faster
        if scene.live is not None:
            why = scene.live.line
        if scene.recording.text:
            line = f"{scene.recording.text}.  {line}"
        if scene.under_pointer:
            line = f"{scene.under_pointer} under the brush.  {line}"
        if stats.stale or stats.errors:
            line += f"   stale {stats.stale}, errors {stats.errors}"
        for i, (words, color) in enumerate(((line, SOFT), (why, FAINT))):
            words = elided(words, lambda part: self.theme.small.size(part)[0], width)
            surface.blit(text(words, self.theme.small, color), (px(16), px(84 + 15 * i)))

    def graph(self, surface: pygame.Surface, stats: RunStatistics, box: pygame.Rect) -> None:
        px, values = self.theme.px, list(stats.recent_ms)
        rounded(surface, WELL, box, px(6))
        most = max(values, default=0.0)
        top = next((t for t in TOPS_MS if t >= most), TOPS_MS[-1])
        inner = pygame.Rect(box.x + 1, box.y + px(20), box.width - 2, box.height - px(22))
        if values:
            bars = pygame.image.frombuffer(bars_of(values, top, inner.size).data, inner.size, "RGBX")
            surface.blit(bars, inner)
        for ms, name in ((1000 / 60, "60 Hz"), (1000 / 30, "30 Hz")):
            y = round(inner.bottom - ms / top * inner.height)
            if inner.bottom - y > px(8):
                pygame.draw.line(surface, FAINT, (box.x, y), (box.right - 1, y))
                words = text(name, self.theme.font(9), SOFT)
                surface.blit(words, words.get_rect(bottomright=(box.right - px(5), y)))
        words = f"latency of the last {GRAPH} frames, to {top:.0f} ms; red: over {SLOW_MS} ms"
        title = text(words, self.theme.small, SOFT)
        surface.blit(title, (box.x + px(8), box.y + px(4)))


def bars_of(values_ms: list[float], top_ms: float, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 4) uint8 bar chart, newest value at the right. In numpy, as drawing single bars is slow."""
    width, height = size
    values = np.full(GRAPH, -1.0)  # no bar
    values[GRAPH - len(values_ms) :] = np.maximum(values_ms, top_ms / height)
    column = values[np.arange(width) * GRAPH // width]
    filled = np.arange(height)[:, None] >= height - np.rint(np.minimum(column, top_ms) / top_ms * height)
    kind = filled * (1 + (column > SLOW_MS)).astype(np.uint8)
    palette = np.array([(*color, 255) for color in (WELL, GOOD, BAD)], np.uint8).view(np.uint32)
    return palette.take(kind).view(np.uint8).reshape(height, width, 4)


def threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def duration(ms: float | None) -> tuple[str, str]:
    """Format a duration as (number, unit) with at most three digits."""
    if ms is None:
        return "-", ""
    return (f"{ms:.0f}", "ms") if ms < 1000 else (f"{min(ms, 999_000) / 1000:.3g}", "s")
