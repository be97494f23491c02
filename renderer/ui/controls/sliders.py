"""Sliders, and conversion between slider position and value."""

from __future__ import annotations

import math

import pygame
from pygame_gui import elements
from pygame_gui.core import UIElement

from models.api import MOOD_AXES
from renderer.scene import Scene
from renderer.ui.input.tools import LARGEST_PX, SMALLEST_PX, Tools
from renderer.ui.style.theme import WELL, Theme, rounded, text


def box_of(element: UIElement) -> pygame.Rect:
    """Box of an element in the window."""
    assert element.rect is not None  # None only while pygame_gui builds the element
    return element.rect


class Slider(elements.UIHorizontalSlider):
    """A slider with range 0..1; a click on the groove moves the knob there."""

    @property
    def box(self) -> pygame.Rect:
        return box_of(self)

    @property
    def knob(self) -> elements.UIButton:
        assert self.sliding_button is not None
        return self.sliding_button

    def process_event(self, event) -> bool:
        if event.type == pygame.MOUSEBUTTONDOWN and event.button == 1 and self.box.collidepoint(event.pos):
            along = event.pos[0] - self.box.x - self.sliding_button_width / 2
            self.set_current_value(min(1.0, max(0.0, along / self.scrollable_width)))
            self._update_data_and_fire_events_when_moved()
            self.knob.process_event(event)
            return True
        return super().process_event(event)

    def draw_value(self, surface: pygame.Surface, theme: Theme, words: str, color: tuple, right: int) -> None:
        shown = text(words, theme.small, color)
        surface.blit(shown, shown.get_rect(midright=(right, self.box.centery)))

    def draw_groove(
        self, surface: pygame.Surface, theme: Theme, color: tuple[int, int, int], prompt_value: float | None
    ) -> None:
        """Draw the groove, filled up to the knob. prompt_value: set by the prompt, 0..1, drawn as a notch."""
        px = theme.px
        groove = self.box.inflate(-px(4), -px(10))
        rounded(surface, WELL, groove, px(2))
        filled = pygame.Rect(groove.x, groove.y, box_of(self.knob).centerx - groove.x, groove.height)
        if filled.width > 1:
            rounded(surface, color, filled, px(2))
        if prompt_value is not None:
            x = self.box.x + round(prompt_value * self.scrollable_width) + self.sliding_button_width // 2
            notch = pygame.Rect(0, 0, px(4), px(14))
            notch.center = x, self.box.centery
            rounded(surface, color, notch, px(2))


def values_of(tools: Tools, scene: Scene) -> dict[str, float]:
    """Value of each slider, by name."""
    brush, params = tools.brush, scene.params
    moods = {f"mood.{axis.name}": level for axis, level in zip(MOOD_AXES, params.mood, strict=True)}
    values = {"size": brush.size_px, "hardness": brush.hardness, "opacity": brush.opacity}
    return {**values, "tolerance": tools.tolerance, "strength": params.strength, **moods}


def set_by_prompt(scene: Scene) -> dict[str, float]:
    """Mood values set by words of the prompt, by slider name; they override the sliders."""
    card, params = scene.card, scene.params
    if card is None or not (card.understands_mood and card.understands_prompt):
        return {}
    prompt_value, _ = scene.read_prompt(params.prompt, params.mood)
    both = zip(MOOD_AXES, params.mood, prompt_value, strict=True)
    return {f"mood.{axis.name}": level for axis, own, level in both if level != own}


def share_of(name: str, value: float) -> float:
    """Slider position 0..1 of a value; sizes are on a logarithmic scale, for precise small brushes."""
    if name == "size":
        return math.log(value / SMALLEST_PX) / math.log(LARGEST_PX / SMALLEST_PX)
    return value / 255 if name == "tolerance" else value


def value_of(name: str, share: float) -> float:
    if name == "size":
        return round(SMALLEST_PX * (LARGEST_PX / SMALLEST_PX) ** share, 1)
    return share * 255 if name == "tolerance" else round(share, 3)


def value_text(name: str, value: float) -> str:
    if name == "size":
        return f"{value:.0f} px"
    return f"{value:.0f}" if name == "tolerance" else f"{value * 100:.0f} %"
