"""Layer panel at the right edge: layer list, buttons, and the active layer's settings."""

from __future__ import annotations

from typing import Literal

import pygame

from models.api import Rect
from renderer.actions import Action, LayerEdit
from renderer.canvas.layers import BLENDS, LayerStack
from renderer.ui.style.icons import icon
from renderer.ui.style.theme import (
    ACCENT,
    ACCENT_DARK,
    CARD,
    FAINT,
    INK,
    RAISED,
    SOFT,
    WELL,
    Theme,
    rounded,
    text,
)

MARGIN, ROW, BUTTON = 10, 28, 26
Operation = Literal["add", "duplicate", "merge", "up", "down", "delete"]
OPERATIONS: tuple[Operation, ...] = ("add", "duplicate", "merge", "up", "down", "delete")
Flag = Literal["locked", "alpha_lock", "reference"]
FLAGS: tuple[tuple[Flag, str], ...] = (
    ("locked", "Lock"),
    ("alpha_lock", "Lock alpha"),
    ("reference", "Reference"),
)


def operation(name: str, stack: LayerStack) -> LayerEdit | None:
    """The edit of the active layer for a button or key; None if there is nothing to do."""
    at = stack.active
    match name:
        case "add" | "duplicate":
            return LayerEdit(name, at)
        case "delete" if len(stack.layers) > 1:
            return LayerEdit("delete", at)
        case "merge" if at > 0:
            return LayerEdit("merge", at)
        case "up" if at + 1 < len(stack.layers):
            return LayerEdit("move", at, at + 1)
        case "down" if at > 0:
            return LayerEdit("move", at, at - 1)
        case "above" if at + 1 < len(stack.layers):
            return LayerEdit("activate", at + 1)
        case "below" if at > 0:
            return LayerEdit("activate", at - 1)
        case "alpha_lock" | "locked" | "visible" | "reference":
            return LayerEdit(name, at, not getattr(stack.layer.settings, name))
    return None


class LayerPanel:
    """Draws the layers and turns clicks into LayerEdits. The wheel scrolls a long list."""

    def __init__(self, theme: Theme):
        self.theme = theme
        self.first = 0  # number of rows scrolled out at the top
        self._state: tuple = ()
        self._dragging = False  # whether the opacity slider is dragged

    def rows(self, box: Rect, count: int) -> list[tuple[int, pygame.Rect]]:
        """(layer index, row box) of the visible rows, topmost layer first."""
        px = self.theme.px
        top, foot = box.y0 + px(72), box.y1 - px(150)
        fit = max(1, (foot - top) // px(ROW))
        self.first = max(0, min(self.first, count - fit))
        shown = list(reversed(range(count)))[self.first : self.first + fit]
        wide = box.width - px(2 * MARGIN)
        return [
            (index, pygame.Rect(box.x0 + px(MARGIN), top + i * px(ROW), wide, px(ROW - 3)))
            for i, index in enumerate(shown)
        ]

    def buttons(self, box: Rect) -> list[tuple[Operation, pygame.Rect]]:
        px = self.theme.px
        step = (box.width - px(2 * MARGIN)) / len(OPERATIONS)
        return [
            (
                name,
                pygame.Rect(round(box.x0 + px(MARGIN) + i * step), box.y0 + px(36), px(BUTTON), px(BUTTON)),
            )
            for i, name in enumerate(OPERATIONS)
        ]

    def flags(self, box: Rect) -> list[tuple[Flag, str, pygame.Rect]]:
        px = self.theme.px
        wide = box.width - px(2 * MARGIN)
        return [
            (name, words, pygame.Rect(box.x0 + px(MARGIN), box.y1 - px(84 - 26 * i), wide, px(22)))
            for i, (name, words) in enumerate(FLAGS)
        ]

    def blend_box(self, box: Rect) -> pygame.Rect:
        px = self.theme.px
        return pygame.Rect(box.x0 + px(MARGIN), box.y1 - px(142), box.width - px(2 * MARGIN), px(24))

    def opacity_box(self, box: Rect) -> pygame.Rect:
        px = self.theme.px
        return pygame.Rect(box.x0 + px(MARGIN), box.y1 - px(112), box.width - px(2 * MARGIN), px(22))

    def handle(self, event: pygame.event.Event, stack: LayerStack, box: Rect) -> tuple[bool, list[Action]]:
        """Handle an event. Returns whether the panel consumed it, and the resulting actions."""
        if box.empty:
            return False, []
        if event.type == pygame.MOUSEBUTTONUP and self._dragging:
            self._dragging = False
            return True, []
        if event.type == pygame.MOUSEMOTION and self._dragging:
            return True, [self.set_opacity(event.pos[0], stack, box)]
        if event.type == pygame.MOUSEWHEEL:
            x, y = pygame.mouse.get_pos()
            inside = box.x0 <= x < box.x1 and box.y0 <= y < box.y1
            self.first -= event.y if inside else 0
            return inside, []
        if event.type != pygame.MOUSEBUTTONDOWN or not (
            box.x0 <= event.pos[0] < box.x1 and box.y0 <= event.pos[1] < box.y1
        ):
            return False, []
        made = self.clicked(event.pos, stack, box) if event.button == 1 else None
        return True, [] if made is None else [made]

    def clicked(self, at: tuple[int, int], stack: LayerStack, box: Rect) -> LayerEdit | None:
        settings = stack.layer.settings
        for name, place in self.buttons(box):
            if place.collidepoint(at):
                return operation(name, stack)
        for index, place in self.rows(box, len(stack.layers)):
            if place.collidepoint(at) and at[0] < place.x + self.theme.px(26):
                return LayerEdit("visible", index, not stack.layers[index].settings.visible)
            if place.collidepoint(at):
                return LayerEdit("activate", index)
        for name, _, place in self.flags(box):
            if place.collidepoint(at):
                return operation(name, stack)
        if self.blend_box(box).collidepoint(at):
            following = BLENDS[(BLENDS.index(settings.blend) + 1) % len(BLENDS)]
            return LayerEdit("blend", stack.active, following)
        if self.opacity_box(box).collidepoint(at):
            self._dragging = True
            return self.set_opacity(at[0], stack, box)
        return None

    def set_opacity(self, x: int, stack: LayerStack, box: Rect) -> LayerEdit:
        groove = self.opacity_box(box)
        share = min(1.0, max(0.0, (x - groove.x) / groove.width))
        return LayerEdit("opacity", stack.active, round(share, 2))

    def draw(self, surface: pygame.Surface, stack: LayerStack, box: Rect, *, anew: bool) -> bool:
        """Draw if anything changed; returns whether it was drawn."""
        state = ([layer.settings for layer in stack.layers], stack.active, box, self.first)
        if box.empty or (state == self._state and not anew):
            return False
        self._state = state
        px, theme, settings = self.theme.px, self.theme, stack.layer.settings
        surface.fill(CARD, pygame.Rect(box.x0, box.y0, box.width, box.height))
        surface.blit(text("LAYERS", theme.heading, FAINT), (box.x0 + px(MARGIN), box.y0 + px(12)))
        for name, place in self.buttons(box):
            rounded(surface, RAISED, place, px(6))
            color = INK if operation(name, stack) is not None else FAINT
            self.draw_icon(surface, f"layer.{name}", place.center, color)
        for index, place in self.rows(box, len(stack.layers)):
            one = stack.layers[index].settings
            rounded(surface, ACCENT_DARK if index == stack.active else WELL, place, px(6))
            self.draw_icon(
                surface,
                "layer.visible" if one.visible else "layer.hidden",
                (place.x + px(14), place.centery),
                SOFT,
            )
            color = INK if one.visible else FAINT
            surface.set_clip(place.inflate(-px(8), 0))
            name = text(one.name, theme.body, color)
            surface.blit(name, name.get_rect(midleft=(place.x + px(28), place.centery)))
            surface.set_clip(None)
            marks = [flag for flag, _ in FLAGS if getattr(one, flag)]
            for i, flag in enumerate(marks):
                self.draw_icon(surface, f"layer.{flag}", (place.right - px(12 + 18 * i), place.centery), SOFT)
        blend = self.blend_box(box)
        rounded(surface, RAISED, blend, px(6))
        shown = text(f"Blend: {settings.blend}", theme.body, INK)
        surface.blit(shown, shown.get_rect(center=blend.center))
        groove = self.opacity_box(box)
        rounded(surface, WELL, groove, px(6))
        filled = groove.copy()
        filled.width = max(px(12), round(groove.width * settings.opacity))
        rounded(surface, ACCENT_DARK, filled, px(6))
        shown = text(f"Opacity {settings.opacity * 100:.0f} %", theme.body, INK)
        surface.blit(shown, shown.get_rect(center=groove.center))
        for name, words, place in self.flags(box):
            on = getattr(settings, name)
            rounded(surface, ACCENT_DARK if on else RAISED, place, px(6))
            self.draw_icon(surface, f"layer.{name}", (place.x + px(14), place.centery), INK if on else SOFT)
            shown = text(words, theme.body, ACCENT if on else SOFT)
            surface.blit(shown, shown.get_rect(midleft=(place.x + px(30), place.centery)))
        return True

    def draw_icon(self, surface: pygame.Surface, name: str, center: tuple[int, int], color: tuple) -> None:
        drawn = icon(name, self.theme.px(16), color)
        surface.blit(drawn, drawn.get_rect(center=center), special_flags=pygame.BLEND_PREMULTIPLIED)
