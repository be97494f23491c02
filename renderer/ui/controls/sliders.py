"""Sliders, and what their place along the groove stands for."""

from __future__ import annotations

import math

import pygame
from pygame_gui import elements

from models.api import MOOD_AXES
from renderer.scene import Scene
from renderer.ui.input import LARGEST_PX, SMALLEST_PX, Hand
from renderer.ui.theme import WELL, Theme, rounded, text


class Slider(elements.UIHorizontalSlider):
    """A slider of 0..1 whose knob comes to where the groove is pressed."""

    def process_event(self, event) -> bool:
        if event.type == pygame.MOUSEBUTTONDOWN and event.button == 1 and self.rect.collidepoint(event.pos):
            along = event.pos[0] - self.rect.x - self.sliding_button_width / 2
            self.set_current_value(min(1.0, max(0.0, along / self.scrollable_width)))
            self._update_data_and_fire_events_when_moved()
            self.sliding_button.process_event(event)
            return True
        return super().process_event(event)

    def draw_value(self, surface: pygame.Surface, theme: Theme, words: str, color: tuple, right: int) -> None:
        shown = text(words, theme.small, color)
        surface.blit(shown, shown.get_rect(midright=(right, self.rect.centery)))

    def draw_groove(
        self, surface: pygame.Surface, theme: Theme, color: tuple[int, int, int], said: float | None
    ) -> None:
        """The groove under the knob, filled as far as the knob. said: where words set it, 0..1: a notch."""
        px = theme.px
        groove = self.rect.inflate(-px(4), -px(10))
        rounded(surface, WELL, groove, px(2))
        filled = pygame.Rect(groove.x, groove.y, self.sliding_button.rect.centerx - groove.x, groove.height)
        if filled.width > 1:
            rounded(surface, color, filled, px(2))
        if said is not None:
            x = self.rect.x + round(said * self.scrollable_width) + self.sliding_button_width // 2
            notch = pygame.Rect(0, 0, px(4), px(14))
            notch.center = x, self.rect.centery
            rounded(surface, color, notch, px(2))


def values_of(hand: Hand, scene: Scene) -> dict[str, float]:
    """What each slider stands for, by name."""
    brush, params = hand.brush, scene.params
    moods = {f"mood.{axis.name}": level for axis, level in zip(MOOD_AXES, params.mood, strict=True)}
    values = {"size": brush.size_px, "hardness": brush.hardness, "opacity": brush.opacity}
    return {**values, "tolerance": hand.tolerance, "strength": params.strength, **moods}


def worded(scene: Scene) -> dict[str, float]:
    """What words of the prompt have set, by the slider's name; the slider itself waits meanwhile."""
    card, params = scene.card, scene.params
    if card is None or not (card.understands_mood and card.understands_prompt):
        return {}
    said, _ = scene.read_prompt(params.prompt, params.mood)
    both = zip(MOOD_AXES, params.mood, said, strict=True)
    return {f"mood.{axis.name}": level for axis, own, level in both if level != own}


def share_of(name: str, value: float) -> float:
    """Value -> 0..1 along the slider; sizes by their ratio, so that small brushes have room."""
    if name == "size":
        return math.log(value / SMALLEST_PX) / math.log(LARGEST_PX / SMALLEST_PX)
    return value / 255 if name == "tolerance" else value


def value_of(name: str, share: float) -> float:
    if name == "size":
        return round(SMALLEST_PX * (LARGEST_PX / SMALLEST_PX) ** share, 1)
    return share * 255 if name == "tolerance" else round(share, 3)


def words_of(name: str, value: float) -> str:
    if name == "size":
        return f"{value:.0f} px"
    return f"{value:.0f}" if name == "tolerance" else f"{value * 100:.0f} %"
