"""The drawn HUD: numbers and the graph of the last latencies, as a strip or over the picture; and the help overlay."""

from __future__ import annotations

from importlib.resources import files

import pygame

from renderer.events import KEYS, label
from renderer.hud import GRAPH, Meter, percentiles
from renderer.scene import Scene

INK, FAINT, GOOD, BAD = (232, 234, 238), (138, 146, 158), (126, 200, 150), (236, 120, 104)
BACK = (24, 27, 33)
REFRESH_S = 0.25
GRAPH_TOP_MS = 100.0


def sans(size_px: int) -> pygame.font.Font:
    """Noto Sans, the font that pygame_gui brings."""
    return pygame.font.Font(str(files("pygame_gui.data") / "NotoSans-Regular.ttf"), size_px)


class Strip:
    """Text is rendered four times a second; between, the last surface is shown again."""

    def __init__(self) -> None:
        self.small = sans(12)
        self.large = sans(25)
        self.title = sans(15)
        self._next_s = 0.0
        self._surface: pygame.Surface | None = None

    def surface(self, scene: Scene, size: tuple[int, int], now_s: float) -> tuple[pygame.Surface, bool]:
        """(the strip, whether it is new)."""
        if self._surface is not None and now_s < self._next_s and self._surface.get_size() == size:
            return self._surface, False
        self._next_s = now_s + REFRESH_S
        self._surface = surface = pygame.Surface(size)
        surface.fill(BACK)
        self.numbers(surface, scene, now_s)
        width = min(GRAPH * 2, size[0] - 560)
        if width > 80:
            self.graph(surface, scene.meter, pygame.Rect(size[0] - width - 12, 12, width, size[1] - 24))
        return surface, True

    def numbers(self, surface: pygame.Surface, scene: Scene, now_s: float) -> None:
        meter = scene.meter
        recent = percentiles(list(meter.recent_ms))
        p95 = "-" if recent["p95"] is None else f"{recent['p95']:.0f}"
        rows = (
            (f"{meter.model_fps(now_s):.0f}", "model frames/s"),
            (f"{meter.shown_fps(now_s):.0f}", "shown frames/s"),
            (p95, "ms pen to picture, p95"),
        )
        x = 14
        for value, name in rows:
            surface.blit(self.large.render(value, True, INK), (x, 12))
            surface.blit(self.small.render(name, True, FAINT), (x, 40))
            x += 130
        stages = meter.stage_medians()
        lines = ["   ".join(f"{name} {ms:.1f}" for name, ms in stages.items()) + (" ms" if stages else "")]
        if scene.card is not None:
            card = scene.card
            lines.append(f"{card.name} on {card.device}, {card.dtype}, {card.threads} threads: {card.path}")
            if card.why_not_faster:
                lines.append(f"not faster because: {card.why_not_faster}")
        if meter.stale or meter.errors:
            lines.append(f"stale {meter.stale}   errors {meter.errors}")
        for i, line in enumerate(lines):
            surface.blit(self.small.render(line, True, FAINT), (14, 66 + 18 * i))
        for i, line in enumerate([scene.status, *scene.messages[-1:], *scene.notes][:2]):
            bad = line == scene.status and line
            surface.blit(self.small.render(line, True, BAD if bad else GOOD), (410, 14 + 18 * i))

    def graph(self, surface: pygame.Surface, meter: Meter, box: pygame.Rect) -> None:
        pygame.draw.rect(surface, (17, 19, 24), box, border_radius=4)
        for ms in (16.7, 33.3):
            y = box.bottom - ms / GRAPH_TOP_MS * box.height
            pygame.draw.line(surface, (48, 53, 62), (box.x, y), (box.right, y))
        values = list(meter.recent_ms)
        wide = box.width / GRAPH
        for i, ms in enumerate(values):
            high = min(1.0, ms / GRAPH_TOP_MS) * box.height
            x = box.right - (len(values) - i) * wide
            color = GOOD if ms <= 50 else BAD
            pygame.draw.line(surface, color, (x, box.bottom), (x, box.bottom - high))
        text = self.small.render(f"pen to picture, last {GRAPH}: lines at 60 and 30 Hz", True, FAINT)
        surface.blit(text, (box.x + 6, box.y + 4))

    def help(self, surface: pygame.Surface) -> None:
        """The key table over everything."""
        width, height = surface.get_size()
        shade = pygame.Surface((width, height), pygame.SRCALPHA)
        shade.fill((14, 16, 20, 228))
        surface.blit(shade, (0, 0))
        groups = list(dict.fromkeys(key.group for key in KEYS))
        columns = [groups[:1], groups[1:3], groups[3:]]
        column = max(240, min(340, (width - 60) // 3))
        left = max(20, (width - 3 * column) // 2)
        for i, names in enumerate(columns):
            x, y = left + i * column, 36
            for name in names:
                surface.blit(self.title.render(name.capitalize(), True, GOOD), (x, y))
                y += 26
                for key in (k for k in KEYS if k.group == name):
                    surface.blit(self.small.render(label(key), True, INK), (x, y))
                    surface.blit(self.small.render(key.help, True, FAINT), (x + 104, y))
                    y += 19
                y += 16
        foot = "Right mouse button erases. Drop an image on the window to paint over it. Any key leaves the help."
        surface.blit(self.small.render(foot, True, FAINT), (left, height - 30))
