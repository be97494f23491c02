"""The tool panel: tools, palette, sliders and buttons, built from pygame_gui elements."""

from __future__ import annotations

from dataclasses import replace

import pygame
import pygame_gui
from pygame_gui import elements
from pygame_gui.core import UIElement

from models.api import MOOD_AXES, Rect
from renderer.actions import Action, Change
from renderer.recording.status import RecordingState
from renderer.scene import Scene
from renderer.ui.controls.bottom_bar import Bar
from renderer.ui.controls.dialogs import color_dialog
from renderer.ui.controls.sliders import (
    Slider,
    box_of,
    set_by_prompt,
    share_of,
    value_of,
    value_text,
    values_of,
)
from renderer.ui.controls.swatches import ColorChips, Swatches, color_of
from renderer.ui.input.keymap import KeyMap
from renderer.ui.input.tools import CHOICES, TOOLS, Tools
from renderer.ui.style.icons import set_icon
from renderer.ui.style.theme import (
    ACCENT,
    BACK,
    CARD,
    EDGE,
    FAINT,
    INK,
    SOFT,
    Theme,
    hex_color,
    rounded,
    text,
)
from renderer.ui.view.layout import PANEL, Layout

MARGIN, GUTTER = 12, 4
INNER = PANEL - 2 * MARGIN
FOURTH = (INNER - 3 * GUTTER) / 4
HEX = 76  # width of the colour's text entry
LABEL, VALUE, ROW = 66, 34, 22  # column widths and height of a slider row
BUTTONS = (
    ("undo", "redo", "clear", "open", "view", "full"),
    ("zoom.in", "zoom.out", "zoom.fit", "rotate.left", "rotate.right", "mirror"),
    ("stabilizer", "symmetry", "dynamics", "layers", "hud", "help"),
)
SIXTH = (INNER - 5 * GUTTER) / 6
WHEEL_PX = 48  # scroll distance for one wheel step
AWAKE_S = 1.5  # pygame_gui, 0.7 ms a tick, is updated until this long after its last event
GROOVE = (146, 150, 160)
POINTER = (pygame.MOUSEBUTTONDOWN, pygame.MOUSEBUTTONUP, pygame.MOUSEMOTION, pygame.MOUSEWHEEL)


class Panel:
    """The tool panel. Changes Tools directly; changes of paper or picture are returned as actions."""

    def __init__(self, window: tuple[int, int], theme: Theme, scene: Scene, keymap: KeyMap):
        self.theme, self.keymap = theme, keymap
        self.manager = pygame_gui.UIManager(window, theme.gui(), enable_live_theme_updates=False)
        self.buttons: dict[elements.UIButton, str] = {}  # element -> name of its row in the key table
        self.sliders: dict[str, Slider] = {}
        self.labels: list[tuple[str, str, pygame.Rect]] = []  # (name of a slider or "", text, box)
        self.headings: list[tuple[str, int]] = []
        self.dialog: elements.UIWindow | None = None
        self.stale = True
        self.set_by_prompt: dict[str, float] = {}  # sliders whose value is set by the prompt
        self._shown: tuple = ()
        self._floated = self._inside = False
        self._awake_s = AWAKE_S
        self.scroll_px = 0  # scroll offset in a window lower than the panel
        self._placed: list[tuple[UIElement, tuple[int, int]]] = []  # elements and unscrolled positions
        self.height_px = theme.px(self.build())
        self._placed = [
            (element, box_of(element).topleft)
            for element in (*self.buttons, *self.sliders.values(), self.seed, self.hex)
        ]
        self.bar = Bar(self.manager, theme, scene, self.button)

    def build(self) -> float:
        """Create the elements; returns the height of the panel at scale 1."""
        y = 12
        fifth = (INNER - 4 * GUTTER) / 5
        for i, tool in enumerate(TOOLS):
            self.button(f"tool.{tool}", MARGIN + i * (fifth + GUTTER), y, fifth, 34)
        self.swatches = Swatches(self.theme, MARGIN, y + 42, FOURTH, 36, GUTTER)
        y += 42 + 3 * 40 + 4
        sample = INNER - FOURTH - HEX - 2 * GUTTER
        self.sample = self.theme.box(MARGIN, y, sample, 34)
        self.hex = elements.UITextEntryLine(
            self.theme.box(MARGIN + sample + GUTTER, y, HEX, 34), self.manager
        )
        self.hex.set_tooltip("colour as #rrggbb")
        self.button("color", MARGIN + 3 * (FOURTH + GUTTER), y, FOURTH, 34)
        self.chips = ColorChips(self.theme, MARGIN, y + 40, INNER)
        y += 60
        y = self.slider(y, "size", "Size")
        self.slider(y, "tolerance", "Tolerance")
        y = self.slider(y, "hardness", "Hardness")
        y = self.slider(y, "opacity", "Opacity")
        y = self.heading(y + 4, "PICTURE")
        self.labels.append(("", "Steps", self.theme.box(MARGIN, y, LABEL, 26)))
        quarter = (INNER - LABEL - 3 * GUTTER) / 4
        for n in range(4):
            self.button(f"steps.{n + 1}", MARGIN + LABEL + n * (quarter + GUTTER), y, quarter, 26, str(n + 1))
        y = self.slider(y + 31, "strength", "Strength") + 4
        self.labels.append(("", "Seed", self.theme.box(MARGIN, y, LABEL, 28)))
        box = self.theme.box(MARGIN + LABEL, y, INNER - LABEL - quarter - GUTTER, 28)
        self.seed = elements.UITextEntryLine(box, self.manager)
        self.button("dice", PANEL - MARGIN - quarter, y, quarter, 28)
        y = self.heading(y + 35, "MOOD")
        for axis in MOOD_AXES:
            y = self.slider(y, f"mood.{axis.name}", axis.name.capitalize(), f"{axis.low} ... {axis.high}")
        y += 6
        for i, names in enumerate(BUTTONS):
            for j, name in enumerate(names):
                self.button(name, MARGIN + j * (SIXTH + GUTTER), y + 34 * i, SIXTH, 30)
        return y + 34 * len(BUTTONS) + MARGIN - 4

    def arrange(self, window: tuple[int, int], layout: Layout) -> None:
        """Lay out the bottom bar for the window size."""
        self.manager.set_window_resolution(window)
        if not layout.bar.empty:
            self.bar.arrange(layout.bar)
        self.scroll_to(self.scroll_px, window[1])

    def scroll_to(self, offset_px: int, window_height: int) -> None:
        """Scroll to this offset in pixels, limited to the panel's height."""
        offset_px = max(0, min(offset_px, self.height_px - window_height))
        if offset_px != self.scroll_px:
            self.scroll_px, self.stale, self._awake_s = offset_px, True, AWAKE_S
            for element, (x, y) in self._placed:
                element.set_relative_position((x, y - offset_px))
            self.swatches.move_to(offset_px)
            self.chips.move_to(offset_px)

    def heading(self, y: float, words: str) -> float:
        self.headings.append((words, self.theme.px(y)))
        return y + 20

    def button(self, name: str, x: float, y: float, wide: float, high: float, words: str = ""):
        box = self.theme.box(x, y, wide, high)
        made = elements.UIButton(box, words, self.manager, tool_tip_text=self.keymap.tip(name))
        self.buttons[made] = name
        if not words:
            set_icon(made, name, self.theme.px(20), INK)
        return made

    def slider(self, y: float, name: str, words: str, tip: str = "") -> float:
        self.labels.append((name, words, self.theme.box(MARGIN, y, LABEL, ROW)))
        groove = self.theme.box(MARGIN + LABEL, y + (ROW - 14) / 2, INNER - LABEL - VALUE, 14)
        self.sliders[name] = slider = Slider(groove, 0.0, (0.0, 1.0), self.manager)
        if tip:
            slider.set_tooltip(f"{tip}  ({self.keymap.label('mood.less')}, {self.keymap.label('mood.more')})")
        return y + ROW

    def typing(self) -> bool:
        """Whether a text entry or a dialog has the keyboard focus."""
        return bool(
            self.bar.prompt.is_focused
            or self.seed.is_focused
            or self.hex.is_focused
            or self.dialog is not None
        )

    def covers(self, position: tuple[int, int], layout: Layout) -> bool:
        """Whether a position is over the panel, the bar, an open menu or a dialog."""
        if self.bar.menu_open() or (self.dialog is not None and box_of(self.dialog).collidepoint(position)):
            return True
        return any(
            r.x0 <= position[0] < r.x1 and r.y0 <= position[1] < r.y1 for r in (layout.panel, layout.bar)
        )

    def floating(self) -> bool:
        """Whether a dialog, the open menu or a tooltip covers the panes."""
        tips = any(e.tool_tip is not None for e in (*self.buttons, *self.sliders.values()))
        return tips or self.dialog is not None or self.bar.menu_open()

    def ask(self, what: str, tools: Tools) -> None:
        """Focus the prompt, or open the colour dialog: "prompt" or "color"."""
        if what == "prompt":
            self.manager.set_focus_set({self.bar.prompt})
        elif self.dialog is None and what == "color":
            self.dialog = color_dialog(self.manager, self.theme, tools.brush.color)

    def handle(self, event, tools: Tools, scene: Scene, layout: Layout) -> tuple[bool, list[Action]]:
        """Handle an event. Returns whether the panel consumed it, and the resulting actions."""
        if event.type in POINTER and not tools.drawing:
            inside = event.type == pygame.MOUSEWHEEL or self.covers(event.pos, layout)
            if inside or self._inside or any(pygame.mouse.get_pressed()):
                self.stale, self._awake_s = True, AWAKE_S
            self._inside = inside
        if event.type == pygame.MOUSEWHEEL and event.y and self.dialog is None:
            position = pygame.mouse.get_pos()
            if position[0] < layout.panel.x1 and self.height_px > layout.panel.height:
                self.scroll_to(self.scroll_px - event.y * self.theme.px(WHEEL_PX), layout.panel.height)
                return True, []
        down, prompting = event.type == pygame.MOUSEBUTTONDOWN, self.bar.prompt.is_focused
        keep = down and self.covers(event.pos, layout)
        if down and not keep:
            self.manager.set_focus_set(None)
        if self.bar.menu_open() and event.type == pygame.KEYDOWN and event.key == pygame.K_ESCAPE:
            self.bar.close_menu()
            return True, []
        kept_keys = self.typing() and event.type in (pygame.KEYDOWN, pygame.KEYUP, pygame.TEXTINPUT)
        if kept_keys and event.type == pygame.KEYDOWN and event.key == pygame.K_ESCAPE:
            self.leave()
            return True, []
        if not (tools.drawing and event.type == pygame.MOUSEMOTION):
            self.manager.process_events(event)
        actions = self.actions_of(event, tools, scene)
        if prompting and not self.bar.prompt.is_focused and not actions:  # a click elsewhere submits it too
            actions = self.text_entered(self.bar.prompt, scene)
        left_prompt = down and prompting and not keep  # this click only ends the text entry
        return keep or kept_keys or left_prompt, actions

    def leave(self) -> None:
        """Release the keyboard focus and close the dialog."""
        self.manager.set_focus_set(None)
        self._shown = ()  # discards text that was typed but not submitted
        if self.dialog is not None:
            self.dialog.kill()
            self.dialog = None

    def actions_of(self, event, tools: Tools, scene: Scene) -> list[Action]:
        element = getattr(event, "ui_element", None)
        if event.type == pygame.MOUSEBUTTONDOWN and event.button == 1 and self.dialog is None:
            color = self.chips.at(event.pos, tools.colors)
            if color is not None:
                tools.take(color)
            material = self.swatches.at(event.pos)
            if material is not None:
                return tools.do(f"material.{material}", scene.params)
        elif event.type == pygame_gui.UI_BUTTON_PRESSED and element in self.buttons:
            return tools.do(self.buttons[element], scene.params)
        elif event.type == pygame_gui.UI_HORIZONTAL_SLIDER_MOVED:
            return self.slider_moved(element, event.value, tools)
        elif event.type == pygame_gui.UI_TEXT_ENTRY_FINISHED and element in (self.bar.prompt, self.seed):
            self.manager.set_focus_set(None)
            return self.text_entered(element, scene)
        elif event.type == pygame_gui.UI_TEXT_ENTRY_FINISHED and element is self.hex:
            self.manager.set_focus_set(None)
            color, self._shown = color_of(self.hex.get_text()), ()
            if color is not None:
                tools.take(color)
        elif event.type == pygame_gui.UI_DROP_DOWN_MENU_CHANGED and element is self.bar.menu:
            return [Change("model", event.text)]
        elif event.type == pygame_gui.UI_COLOUR_PICKER_COLOUR_PICKED:
            tools.take(tuple(event.colour)[:3])
        elif event.type == pygame_gui.UI_WINDOW_CLOSE and element is self.dialog:
            self.dialog = None
        return []

    def slider_moved(self, element, share: float, tools: Tools) -> list[Action]:
        name = next((n for n, slider in self.sliders.items() if slider is element), None)
        value = value_of(name, share) if name is not None else share
        if name == "size":
            tools.brush = replace(tools.brush, size_px=value)
        elif name in ("hardness", "opacity"):
            tools.brush = replace(tools.brush, **{name: value})
        elif name == "tolerance":
            tools.tolerance = round(value)
        elif name is not None:
            if name.startswith("mood."):
                tools.mood_axis = [axis.name for axis in MOOD_AXES].index(name[5:])
            return [Change(name, value)]
        return []

    def text_entered(self, element, scene: Scene) -> list[Action]:
        words = element.get_text()
        if element is self.bar.prompt:
            return [Change("prompt", words)]
        self._shown = ()
        return [Change("seed", int(words))] if words.strip().isdecimal() else []

    def show_state(self, tools: Tools, scene: Scene) -> None:
        """Update the controls to the current state, except one that is being dragged or typed in."""
        params = scene.params
        filming, back = scene.recording.state is RecordingState.RECORDING, scene.rewind is not None
        state = (tools.tool, tools.brush, tools.tolerance, tools.mood_axis, params, scene.card, filming, back)
        state = (*state, choices_on(tools), tuple(tools.colors))
        if state == self._shown:
            return
        self._shown, self.stale, self._awake_s = state, True, AWAKE_S
        for name, value in values_of(tools, scene).items():
            slider = self.sliders[name]
            if not slider.knob.held:
                slider.set_current_value(share_of(name, value), warn=False)
        self.set_by_prompt = set_by_prompt(scene)
        on = {
            f"tool.{tools.tool}",
            f"steps.{params.steps}",
            *choices_on(tools),
            "record" * filming,
            "rewind" * back,
        }
        for button, name in self.buttons.items():
            chosen = name in on
            if chosen != button.is_selected:
                (button.select if chosen else button.unselect)()
        for name, wanted in (("tolerance", tools.tool == "fill"), ("hardness", tools.tool != "fill")):
            slider = self.sliders[name]
            if bool(slider.visible) != wanted:
                (slider.show if wanted else slider.hide)()
        if not self.hex.is_focused:
            self.hex.set_text(hex_color(tools.brush.color))
        if not self.seed.is_focused:
            self.seed.set_text(str(params.seed))
        self.bar.show_state(scene)

    def update(self, elapsed_s: float) -> bool:
        """Update pygame_gui; returns whether everything must be redrawn, as below a dialog or menu."""
        if self.typing() or self.bar.menu_open():
            self._awake_s = AWAKE_S
        if self._awake_s > 0:
            self._awake_s -= elapsed_s
            self.manager.update(elapsed_s)
        floated, self._floated = self._floated, self.floating()
        return floated or self._floated

    def draw(self, surface: pygame.Surface, tools: Tools, scene: Scene, layout: Layout) -> list[pygame.Rect]:
        """Draw if anything changed; returns the drawn boxes."""
        if not (self.stale or self.typing()):
            return []
        self.stale = False
        boxes = [pygame.Rect(r.x0, r.y0, r.width, r.height) for r in (layout.panel, layout.bar)]
        surface.fill(CARD, boxes[0])
        surface.fill(BACK, boxes[1])
        self.draw_labels(surface, tools, scene)
        self.swatches.draw(surface, tools.brush.material)
        self.swatches.draw_sample(surface, self.sample.move(0, -self.scroll_px), tools.brush, tools.tool)
        self.chips.draw(surface, tools.colors)
        self.draw_scroll_bar(surface, layout.panel)
        self.manager.draw_ui(surface)
        if self.dialog is None or not box_of(self.dialog).colliderect(box_of(self.bar.prompt)):
            self.bar.draw_hint(surface)
        return boxes

    def draw_scroll_bar(self, surface: pygame.Surface, panel: Rect) -> None:
        """Draw a thin scroll bar at the panel's edge if the panel does not fit."""
        if self.height_px <= panel.height:
            return
        length = max(self.theme.px(24), panel.height * panel.height // self.height_px)
        top = (panel.height - length) * self.scroll_px // (self.height_px - panel.height)
        wide = self.theme.px(4)
        rounded(surface, EDGE, pygame.Rect(panel.x1 - wide - 1, top, wide, length), wide // 2)

    def draw_labels(self, surface: pygame.Surface, tools: Tools, scene: Scene) -> None:
        theme, values = self.theme, values_of(tools, scene)
        right = theme.px(PANEL - MARGIN)
        for words, y in self.headings:
            shown = text(words, theme.heading, FAINT)
            y -= self.scroll_px
            surface.blit(shown, (theme.px(MARGIN), y))
            middle = y + shown.get_height() // 2
            start = (theme.px(MARGIN + 6) + shown.get_width(), middle)
            pygame.draw.line(surface, EDGE, start, (right, middle))
        chosen = f"mood.{MOOD_AXES[tools.mood_axis].name}"
        for name, words, box in self.labels:
            slider, box = self.sliders.get(name), box.move(0, -self.scroll_px)
            if slider is None or slider.visible:
                shown = text(words, theme.body, ACCENT if name == chosen else SOFT)
                surface.blit(shown, shown.get_rect(midleft=box.midleft))
            if slider is not None and slider.visible:
                prompt_value = self.set_by_prompt.get(name)
                color = INK if prompt_value is None else ACCENT
                words = value_text(name, values[name] if prompt_value is None else prompt_value)
                slider.draw_value(surface, theme, words, color, right)
                slider.draw_groove(
                    surface, theme, ACCENT if name.startswith("mood.") else GROOVE, prompt_value
                )


def choices_on(tools: Tools) -> set[str]:
    """Names of the buttons that are switched on."""
    on = {name for name, names in CHOICES.items() if getattr(tools, name) != names[0]}
    on |= {"layers"} if tools.show_layers else set()
    return on | ({"mirror"} if tools.navigation.settings.mirrored else set())
