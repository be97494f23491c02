"""The bar below the panes: prompt, model menu, and buttons for rewind, recording and saving."""

from __future__ import annotations

from collections.abc import Callable

import pygame
import pygame_gui
from pygame_gui import elements

from models.api import Rect
from renderer.scene import Scene
from renderer.ui.controls.sliders import box_of
from renderer.ui.style.theme import FAINT, Theme, text

HINT = "Describe the picture: foggy autumn sunset ..."
HIGH, GAP, MENU = 32, 8, 150
BUTTONS = (("rewind", 34, ""), ("keep", 34, ""), ("record", 34, ""), ("save", 72, "Save"))


class Bar:
    """The bottom bar. prompt: text entry. menu: model menu. `arrange` positions them."""

    def __init__(self, manager: pygame_gui.UIManager, theme: Theme, scene: Scene, button: Callable):
        """button: function that creates a panel button."""
        px, self.theme = theme.px, theme
        self.prompt = elements.UITextEntryLine(pygame.Rect(0, 0, px(200), px(HIGH)), manager)
        box = pygame.Rect(0, 0, px(MENU), px(HIGH))
        self.menu = elements.UIDropDownMenu([*scene.models], scene.params.model, box, manager)
        buttons = [(button(name, 0, 0, wide, HIGH, words), wide) for name, wide, words in BUTTONS]
        self._parts = [(self.menu, MENU), *buttons]

    def arrange(self, bar: Rect) -> None:
        """Place buttons and menu at the right with their own widths; the prompt takes the remaining width."""
        px, right = self.theme.px, bar.x1
        for part, wide in reversed(self._parts):
            part.set_relative_position((right - px(wide), bar.y0))
            right -= px(wide) + px(GAP)
        self.prompt.set_relative_position((bar.x0, bar.y0))
        self.prompt.set_dimensions((max(px(60), right - bar.x0), bar.height))
        self.prompt.rebuild()

    def menu_open(self) -> bool:
        return self.menu.current_state is self.menu.menu_states["expanded"]

    def close_menu(self) -> None:
        self.menu.menu_states["expanded"].should_transition = True

    def show_state(self, scene: Scene) -> None:
        """Show the current prompt and model."""
        params, menu = scene.params, self.menu
        if not self.prompt.is_focused:
            self.prompt.set_text(params.prompt)
        if menu.selected_option[0] != params.model and params.model in scene.models:
            menu.selected_option = (params.model, params.model)
            closed = menu.menu_states["closed"]  # pygame_gui keeps a copy of the option
            closed.selected_option = menu.selected_option
            if closed.selected_option_button is not None:
                closed.selected_option_button.set_text(params.model)

    def draw_hint(self, surface: pygame.Surface) -> None:
        """Draw the placeholder text of an empty prompt."""
        if self.prompt.get_text() or self.prompt.is_focused:
            return
        hint, box = text(HINT, self.theme.body, FAINT), box_of(self.prompt).inflate(-self.theme.px(24), 0)
        surface.set_clip(box)
        surface.blit(hint, hint.get_rect(midleft=box.midleft))
        surface.set_clip(None)
