"""The panel: tools, palette, sliders, prompt and buttons, made of pygame_gui; and the dialogs for colour and file."""

from __future__ import annotations

import pygame
import pygame_gui
from pygame_gui import elements, windows

from models.api import MATERIALS, MOOD_AXES
from renderer.actions import Action, Change, Command
from renderer.events import LARGEST_PX, NAMES, SMALLEST_PX, TOOLS, Hand, label
from renderer.scene import Scene
from renderer.strip import sans
from renderer.view import PANEL_PX

BACK, INK, FAINT, ACCENT = (30, 34, 41), (226, 229, 234), (140, 148, 160), (126, 200, 150)
MARGIN, ROW = 12, 22
INNER = PANEL_PX - 2 * MARGIN
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
TOOL_NAMES = {"eraser": "Erase"}
BUTTONS = (("undo", "Undo"), ("redo", "Redo"), ("clear", "Clear"), ("open", "Open"))
BUTTONS_BELOW = (("save", "Save"), ("view", "View"), ("hud", "HUD"), ("help", "Help"))
THEME = {
    "defaults": {
        "colours": {
            "dark_bg": "#1e2229",
            "normal_bg": "#2b313a",
            "hovered_bg": "#39414d",
            "active_bg": "#4a8f68",
            "selected_bg": "#4a8f68",
            "disabled_bg": "#23272e",
            "normal_text": "#e2e5ea",
            "hovered_text": "#ffffff",
            "active_text": "#ffffff",
            "selected_text": "#ffffff",
            "normal_border": "#39414d",
            "hovered_border": "#5b6675",
            "active_border": "#7ec896",
            "selected_border": "#7ec896",
        },
        "misc": {
            "border_width": "1",
            "shadow_width": "0",
            "shape": "rounded_rectangle",
            "shape_corner_radius": "4",
        },
        "font": {"name": "noto_sans", "size": "11"},
    },
    "horizontal_slider": {"misc": {"enable_arrow_buttons": "0", "sliding_button_width": "10"}},
}


class Panel:
    """Reads and writes the Hand directly; everything that changes the picture comes back as actions."""

    def __init__(self, window: tuple[int, int], models: tuple[str, ...], model: str):
        self.manager = pygame_gui.UIManager(window, theme_path=THEME, enable_live_theme_updates=False)
        self.font = sans(12)
        self.tiny = sans(10)
        self.buttons: dict[object, str] = {}  # element -> row of the key table
        self.sliders: dict[str, elements.UIHorizontalSlider] = {}
        self.texts: list[tuple[str, tuple[int, int]]] = []
        self.swatches: list[tuple[pygame.Rect, tuple[int, int, int], str]] = []
        self.dialog: object | None = None
        self.stale = True
        self._holding = False
        self._shown: tuple = ()
        self.build(models, model)

    def build(self, models: tuple[str, ...], model: str) -> None:
        y = MARGIN
        self.row(y, [(f"tool.{tool}", TOOL_NAMES.get(tool, tool.capitalize())) for tool in TOOLS])
        y += 36
        wide, high = INNER // 4, 32
        for i, material in enumerate(MATERIALS):
            box = pygame.Rect(MARGIN + i % 4 * wide, y + i // 4 * (high + 4), wide - 4, high)
            self.swatches.append((box, material.color, material.name))
        y += (len(MATERIALS) + 3) // 4 * (high + 4) + 2
        self.current = pygame.Rect(MARGIN, y, 3 * wide - 4, 24)
        self.button("color", "Free", pygame.Rect(MARGIN + 3 * wide, y, wide, 24))
        y += 34
        y = self.slider(y, "size", "Size", SMALLEST_PX, LARGEST_PX)
        y = self.slider(y, "hardness", "Hardness", 0.05, 1.0)
        y = self.slider(y, "opacity", "Opacity", 0.05, 1.0)
        y = self.slider(y, "tolerance", "Tolerance", 0.0, 255.0) + 8
        y = self.slider(y, "strength", "Strength", 0.0, 1.0)
        self.texts.append(("Steps", (MARGIN, y + 7)))
        self.row(y, [(f"steps.{n}", str(n)) for n in (1, 2, 3, 4)], left=70)
        y += 30
        self.texts.append(("Seed", (MARGIN, y + 7)))
        self.seed = self.entry(pygame.Rect(MARGIN + 70, y, INNER - 70 - 54, 26), "")
        self.button("dice", "Dice", pygame.Rect(PANEL_PX - MARGIN - 50, y, 50, 26))
        y += 38
        for axis in MOOD_AXES:
            y = self.slider(y, f"mood.{axis.name}", axis.name.capitalize(), 0.0, 1.0)
        y += 8
        self.prompt = self.entry(pygame.Rect(MARGIN, y, INNER, 28), "prompt: foggy autumn sunset")
        y += 34
        box = pygame.Rect(MARGIN, y, INNER, 28)
        self.menu = elements.UIDropDownMenu([*models], model, box, self.manager, expansion_height_limit=200)
        y += 36
        self.row(y, BUTTONS)
        self.row(y + 32, BUTTONS_BELOW)

    def row(self, y: int, items, left: int = 0) -> None:
        wide = (INNER - left) / len(items)
        for i, (name, text) in enumerate(items):
            x = round(MARGIN + left + i * wide)
            self.button(name, text, pygame.Rect(x, y, round(wide) - 4, 28))

    def button(self, name: str, text: str, box: pygame.Rect) -> None:
        key = NAMES[name]
        tip = f"{key.help} ({label(key)})"
        self.buttons[elements.UIButton(box, text, self.manager, tool_tip_text=tip)] = name

    def entry(self, box: pygame.Rect, hint: str) -> elements.UITextEntryLine:
        return elements.UITextEntryLine(box, self.manager, placeholder_text=hint)

    def slider(self, y: int, name: str, text: str, low: float, high: float) -> int:
        self.texts.append((text, (MARGIN, y + 4)))
        box = pygame.Rect(MARGIN + 70, y, INNER - 70, ROW - 4)
        self.sliders[name] = elements.UIHorizontalSlider(box, low, (low, high), self.manager)
        return y + ROW

    def typing(self) -> bool:
        """A text line has the keyboard."""
        return bool(self.prompt.is_focused or self.seed.is_focused or self.dialog is not None)

    def covers(self, position: tuple[int, int]) -> bool:
        """The position belongs to the panel, an open menu or a dialog."""
        return position[0] < PANEL_PX or self.dialog is not None

    def focus_prompt(self) -> None:
        self.manager.set_focus_set({self.prompt})
        self.prompt.focus()

    def pick_color(self, color: tuple[int, int, int]) -> None:
        if self.dialog is None:
            box = pygame.Rect(PANEL_PX + 20, 60, 420, 400)
            self.dialog = windows.UIColourPickerDialog(box, self.manager, initial_colour=pygame.Color(*color))

    def pick_file(self) -> None:
        if self.dialog is None:
            box = pygame.Rect(PANEL_PX + 20, 60, 460, 440)
            self.dialog = windows.UIFileDialog(
                box,
                self.manager,
                "Open an image as paper",
                allowed_suffixes=IMAGE_SUFFIXES,
                allow_existing_files_only=True,
            )

    def handle(self, event, hand: Hand, scene: Scene) -> tuple[bool, list[Action]]:
        """(whether the panel kept the event, what it means)."""
        if event.type in (
            pygame.MOUSEBUTTONDOWN,
            pygame.MOUSEBUTTONUP,
            pygame.MOUSEMOTION,
            pygame.MOUSEWHEEL,
        ):
            self.stale |= (
                event.type != pygame.MOUSEMOTION or event.pos[0] < PANEL_PX or self.dialog is not None
            )
        self.manager.process_events(event)
        actions: list[Action] = []
        if event.type == pygame.MOUSEBUTTONDOWN and event.button == 1 and self.dialog is None:
            for box, color, _ in self.swatches:
                if box.collidepoint(event.pos):
                    hand.take(color)
        if event.type == pygame_gui.UI_BUTTON_PRESSED and event.ui_element in self.buttons:
            actions = hand.do(self.buttons[event.ui_element], scene.look)
        elif event.type == pygame_gui.UI_HORIZONTAL_SLIDER_MOVED:
            actions = self.slid(event, hand)
        elif event.type == pygame_gui.UI_TEXT_ENTRY_FINISHED:
            actions = self.entered(event)
        elif event.type == pygame_gui.UI_DROP_DOWN_MENU_CHANGED and event.ui_element is self.menu:
            actions = [Change("model", event.text)]
        elif event.type == pygame_gui.UI_COLOUR_PICKER_COLOUR_PICKED:
            hand.take(tuple(event.colour)[:3])
        elif event.type == pygame_gui.UI_FILE_DIALOG_PATH_PICKED:
            actions = [Command("load", event.text)]
        elif event.type == pygame_gui.UI_WINDOW_CLOSE and event.ui_element is self.dialog:
            self.dialog = None
        if event.type == pygame.MOUSEBUTTONDOWN and not self.covers(event.pos):
            self.manager.set_focus_set(None)
        keyboard = event.type in (pygame.KEYDOWN, pygame.KEYUP, pygame.TEXTINPUT) and self.typing()
        pointer = event.type == pygame.MOUSEBUTTONDOWN and (self.covers(event.pos) or self.menu_open())
        return keyboard or pointer, actions

    def menu_open(self) -> bool:
        return self.menu.current_state is self.menu.menu_states["expanded"]

    def slid(self, event, hand: Hand) -> list[Action]:
        from dataclasses import replace

        name = next((n for n, slider in self.sliders.items() if slider is event.ui_element), None)
        if name in ("size", "hardness", "opacity"):
            field = "size_px" if name == "size" else name
            hand.brush = replace(hand.brush, **{field: float(event.value)})
        elif name == "tolerance":
            hand.tolerance = int(event.value)
        elif name is not None:
            if name.startswith("mood."):
                hand.mood_axis = [axis.name for axis in MOOD_AXES].index(name[5:])
            return [Change(name, float(event.value))]
        return []

    def entered(self, event) -> list[Action]:
        self.manager.set_focus_set(None)
        if event.ui_element is self.prompt:
            return [Change("prompt", event.text)]
        if event.ui_element is self.seed and event.text.isdigit():
            return [Change("seed", int(event.text))]
        return []

    def follow(self, hand: Hand, scene: Scene) -> None:
        """Show what is true now, unless the hand is at that very control."""
        state = (hand.tool, hand.brush, hand.tolerance, hand.mood_axis, scene.look)
        if state == self._shown:
            return
        self._shown, self.stale = state, True
        look = scene.look
        values = {"size": hand.brush.size_px, "hardness": hand.brush.hardness, "opacity": hand.brush.opacity}
        values |= {"tolerance": hand.tolerance, "strength": look.strength}
        values |= {f"mood.{axis.name}": level for axis, level in zip(MOOD_AXES, look.mood, strict=True)}
        for name, value in values.items():
            slider = self.sliders[name]
            if not slider.sliding_button.held and abs(slider.get_current_value() - value) > 1e-3:
                slider.set_current_value(value, warn=False)
        for button, name in self.buttons.items():
            chosen = name in (f"tool.{hand.tool}", f"steps.{look.steps}")
            if chosen != button.is_selected:
                (button.select if chosen else button.unselect)()
        if not self.seed.is_focused:
            self.seed.set_text(str(look.seed))
        if not self.prompt.is_focused:
            self.prompt.set_text(look.prompt)

    def draw(self, surface: pygame.Surface, hand: Hand, elapsed_s: float) -> bool:
        """Draw if anything in it changed; returns whether it did."""
        self.manager.update(elapsed_s)
        if not self.stale:
            return False
        self.stale = self.dialog is not None
        surface.fill(BACK, (0, 0, PANEL_PX, surface.get_height()))
        for text, place in self.texts:
            surface.blit(self.font.render(text, True, FAINT), place)
        axis = self.sliders[f"mood.{MOOD_AXES[hand.mood_axis].name}"].relative_rect
        pygame.draw.rect(surface, ACCENT, (MARGIN - 6, axis.y + 2, 2, 14))
        for box, color, name in self.swatches:
            self.swatch(surface, box, color, name, color == hand.brush.color)
        self.swatch(surface, self.current, hand.brush.color, "", False)
        self.manager.draw_ui(surface)
        return True

    def swatch(self, surface: pygame.Surface, box: pygame.Rect, color, name: str, chosen: bool) -> None:
        pygame.draw.rect(surface, color, box, border_radius=5)
        if chosen:
            pygame.draw.rect(surface, (255, 255, 255), box.inflate(4, 4), 2, border_radius=6)
        bright = 0.3 * color[0] + 0.59 * color[1] + 0.11 * color[2] > 130
        text = self.tiny.render(name, True, (20, 22, 26) if bright else (240, 242, 245))
        surface.blit(text, text.get_rect(midbottom=(box.centerx, box.bottom - 3)))
