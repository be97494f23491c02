"""The painting window: reads input, and composes and shows panes, panel and HUD."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pygame

from models.api import NOTHING, Rect
from renderer.actions import Action, Command, Event, InputError
from renderer.scene import Scene
from renderer.ui import timeline
from renderer.ui.controls.file_picker import FilePicker, PlatformDialog, pictures_folder, platform_command
from renderer.ui.controls.layer_panel import LayerPanel, operation
from renderer.ui.controls.panel import Panel
from renderer.ui.display import bgra_view, display_surface, opening, rgb_copy
from renderer.ui.help import draw_help
from renderer.ui.hud import Hud
from renderer.ui.input.keymap import KeyMap
from renderer.ui.input.tools import Tools
from renderer.ui.overlay import Mark, draw_mark, marks_of
from renderer.ui.style.theme import BACK, Theme
from renderer.ui.tablet import open_tablet
from renderer.ui.view.layout import PANEL_HEIGHT, Layout, arrange
from renderer.ui.view.panes import PanePixels
from renderer.ui.view.view_transform import ViewSettings
from renderer.ui.work_area import TITLE_BAR_PX, desktop_scale, work_area

SIZE = (1280, 720)  # default window size at scale 1
SMALLEST = (640, 360)  # minimum window at the smallest scale
SMALLEST_SCALE = 0.75  # of the chosen scale, in a window lower than the panel; below it the panel scrolls


PICKER_EVENTS = (
    pygame.KEYDOWN,
    pygame.MOUSEBUTTONDOWN,
    pygame.MOUSEBUTTONUP,
    pygame.MOUSEMOTION,
    pygame.MOUSEWHEEL,
)


class Window:
    """The pygame window. All input and all drawing on the screen go through it."""

    platform_dialogs = True  # use the platform's file dialog if there is one

    def __init__(
        self, size: tuple[int, int] | None = None, scale: float | None = None, keymap: KeyMap | None = None
    ):
        """scale: of text and controls, 1 at 96 dpi; None: from the screen's resolution."""
        cv2.setNumThreads(1)  # leaves the cores to the model; waiting for one took 4 ms of the slowest ticks
        if scale is not None and not 0.5 <= scale <= 4:
            raise InputError(f"--scale {scale:g} does not work; choose 0.5 to 4")
        with opening():
            self.theme = Theme(scale or desktop_scale())
            self._wanted_scale = self.theme.scale
            self.surface = self.open(size)
        pygame.key.set_repeat(320, 40)
        self.tools = Tools(keymap)
        self.tools.tablet = open_tablet(pygame.display.get_driver())
        self.panel: Panel | None = None
        self.hud = Hud(self.theme)
        self.layers = LayerPanel(self.theme)
        self.panes: PanePixels | None = None
        self._full = False
        self._picker: FilePicker | None = None
        self._dialog: PlatformDialog | None = None
        self._folder: Path | None = None  # folder of the last opened file
        self._cursor: int | None = None
        self._view = ViewSettings()  # last drawn view
        self._shape: tuple = ()  # everything is redrawn when this changes
        self._marks: tuple[Mark, ...] = ()
        self._drawn_s = time.perf_counter()
        self._boxes: list[pygame.Rect] = []
        self.panes_new = False  # whether the last `draw` changed a pixel of paper or picture

    def open(self, size: tuple[int, int] | None) -> pygame.Surface:
        """Open the window. size: None for SIZE at the chosen scale, limited to the screen's work area."""
        area = work_area()
        room = area.width, area.height - TITLE_BAR_PX
        wanted = size or (min(room[0], self.theme.px(SIZE[0])), min(room[1], self.theme.px(SIZE[1])))
        surface = pygame.display.set_mode(wanted, pygame.RESIZABLE)
        least = [round(side * SMALLEST_SCALE * self.theme.scale) for side in SMALLEST]
        with warnings.catch_warnings():  # pygame has no other way to get the window of `display`
            warnings.simplefilter("ignore", DeprecationWarning)
            self.handle = pygame.Window.from_display_module()
        self.handle.minimum_size = [min(*sides) for sides in zip(wanted, least, strict=True)]
        if size is None:  # centred in the area that task bars leave free
            free_px = room[0] - wanted[0], room[1] - wanted[1]
            self.handle.position = area.x + free_px[0] // 2, area.y + TITLE_BAR_PX + free_px[1] // 2
        pygame.display.set_caption("Flowbrush")
        surface.fill(BACK)
        pygame.display.flip()
        return surface

    @property
    def display_hz(self) -> float:
        with contextlib.suppress(pygame.error, AttributeError):
            return float(min(240, max(30, pygame.display.get_current_refresh_rate() or 60)))
        return 60.0

    def poll(self, now_s: float, scene: Scene) -> list[Event]:
        """Events since the last call, in order. Events of a projector window do not affect the painting."""
        events = pygame.event.get()
        closed = [event for event in events if self.elsewhere(event) and event.type == pygame.WINDOWCLOSE]
        made = self.read([event for event in events if not self.elsewhere(event)], now_s, scene)
        return made + [Event(Command("projector"), now_s) for _ in closed]

    def elsewhere(self, event: pygame.event.Event) -> bool:
        """Whether a pointer or window event belongs to another window. Keys count in any window."""
        window = getattr(event, "window", None)
        keys = event.type in (pygame.KEYDOWN, pygame.KEYUP, pygame.TEXTINPUT)
        return window is not None and window.id != self.handle.id and not keys

    def read(self, events: Iterable[pygame.event.Event], now_s: float, scene: Scene) -> list[Event]:
        layout = self.layout(scene)
        typing = self.panel is not None and self.panel.typing()
        events = [event for event in events if not self.tools.is_repeat(event) or typing]
        if scene.show_help:
            return self.read_help(events, now_s)
        events, chosen = self.read_choice(events)
        free, made = [], [Event(action, now_s) for action in chosen]
        if scene.rewind is not None:
            box = timeline.bar(layout, self.theme)
            moved, events = timeline.read(events, scene.rewind, box, self.theme, now_s)
            made += moved
        for event in events:
            kept, actions = self.layers.handle(event, scene.canvas.stack, layout.layers)
            if kept:
                made += [Event(action, now_s) for action in actions]
                continue
            if self.panel is not None and scene.view != "picture":
                kept, actions = self.panel.handle(event, self.tools, scene, layout)
            made += [Event(action, now_s) for action in actions]
            if not kept:
                free.append(event)
        made += self.tools.translate(free, layout, scene.params, now_s)
        return [event for event in (with_layer(event, scene) for event in made) if event is not None]

    def read_help(self, events: Iterable[pygame.event.Event], now_s: float) -> list[Event]:
        """Handle events while the help is shown; any key or button closes it."""
        for event in events:
            if event.type == pygame.QUIT:
                return [Event(Command("quit"), now_s)]
            if event.type in (pygame.KEYDOWN, pygame.MOUSEBUTTONDOWN):
                return [Event(Command("help"), now_s)]
        return []

    def fit(self, height: int) -> None:
        """Scale panel and HUD down while the window is too low for them."""
        most = max(SMALLEST_SCALE * self._wanted_scale, height / PANEL_HEIGHT // 0.05 * 0.05)
        scale = min(self._wanted_scale, most)
        if scale != self.theme.scale:
            self.theme, self.panel = Theme(scale), None
            self.hud, self.layers = Hud(self.theme), LayerPanel(self.theme)

    def layout(self, scene: Scene) -> Layout:
        canvas = (scene.canvas.width, scene.canvas.height)
        navigation = self.tools.navigation
        if navigation.canvas != canvas:  # a new canvas is fitted to the pane
            navigation.canvas, navigation.settings = canvas, ViewSettings()
        return arrange(
            scene.view,
            self.surface.get_size(),
            canvas,
            hud=scene.show_hud,
            scale=self.theme.scale,
            layers=self.tools.show_layers,
            settings=navigation.settings,
        )

    def ask(self, what: str) -> None:
        """Focus the prompt, or open the dialog of a command: "prompt", "color" or "open"."""
        if what == "open":
            self.choose_file()
        elif self.panel is not None:
            self.panel.ask(what, self.tools)

    def choose_file(self) -> None:
        """Open the platform's file dialog, or the built-in picker if there is none."""
        if self._picker is not None or self._dialog is not None:
            return
        folder = self._folder or pictures_folder()
        command = platform_command(folder) if self.platform_dialogs else None
        if command is not None:
            self._dialog = PlatformDialog(command)
        else:
            self._picker = FilePicker(self.theme, folder)

    def read_choice(self, events: list[pygame.event.Event]) -> tuple[list[pygame.event.Event], list[Action]]:
        """Returns (events that the file dialog does not use, actions for the chosen file)."""
        result: Path | bool = True
        if self._dialog is not None:
            result = self._dialog.result()
        elif self._picker is not None:
            own = [event for event in events if event.type in PICKER_EVENTS]
            events = [event for event in events if event.type not in PICKER_EVENTS]
            for event in own:
                result = self._picker.handle(event, self.surface.get_size())
                if result is not True:
                    break
        if result is True:
            return events, []
        self.close_dialogs()
        if not isinstance(result, Path):
            return events, []
        self._folder = result.parent
        return events, [Command("load", str(result))]

    def close_dialogs(self) -> None:
        """Close the file dialogs. Idempotent."""
        for one in (self._dialog, self._picker):
            if one is not None:
                one.close()
        self._dialog = self._picker = None

    def full_screen(self) -> None:
        """Toggle full screen; leaving it restores the previous window."""
        if self._full:
            self.handle.set_windowed()
        else:
            self.handle.set_fullscreen(desktop=True)
        self._full, self._shape = not self._full, ()

    def draw(self, scene: Scene, now_s: float) -> None:
        """Draw what changed since the last call."""
        elapsed_s, self._drawn_s = now_s - self._drawn_s, now_s
        surface = self.surface = display_surface()
        self._boxes, self.panes_new = [], False
        self.fit(surface.get_height())
        layout = self.layout(scene)
        panel, panes, anew = self.prepare(scene, layout)
        changed = panes.update(scene, scene.ink.dry(elapsed_s * 1e3))
        self.panes_new = any(not box.empty for box in changed.values())
        scene.changed, scene.picture_new, scene.pointer = NOTHING, False, self.tools.place
        if scene.live is not None:
            scene.live.changed = NOTHING
        if scene.view != "picture":
            panel.show_state(self.tools, scene)
            anew |= panel.update(elapsed_s)
        if scene.show_help and not anew:
            return
        if anew:
            surface.fill(BACK)
            panel.stale = True
            self._boxes = [surface.get_rect()]
        self.set_cursor()
        self.draw_panes(surface, scene, layout, panes, changed=changed, anew=anew)
        if not layout.hud.empty:
            self.draw_hud(surface, scene, layout.hud, now_s, anew)
        if self.layers.draw(surface, scene.canvas.stack, layout.layers, anew=anew):
            self._boxes.append(rect_of(layout.layers))
        if scene.view != "picture":
            self._boxes += panel.draw(surface, self.tools, scene, layout)
        if self._picker is not None:
            self._picker.draw(surface)
            self._boxes.append(self._picker.box(surface.get_size()))
        if scene.show_help:
            draw_help(surface, self.theme, self.tools.keymap)

    def set_cursor(self) -> None:
        """Show the move cursor while the view can be dragged."""
        navigation = self.tools.navigation
        wanted = pygame.SYSTEM_CURSOR_SIZEALL if navigation.space or navigation.dragging else None
        if wanted != self._cursor:
            self._cursor = wanted
            pygame.mouse.set_cursor(pygame.SYSTEM_CURSOR_ARROW if wanted is None else wanted)

    def prepare(self, scene: Scene, layout: Layout) -> tuple[Panel, PanePixels, bool]:
        """Returns panel and panes, created if needed, and whether everything must be redrawn."""
        size, canvas = self.surface.get_size(), scene.canvas
        if self.panes is None or self.panes.whole != canvas.whole:
            self.panes = PanePixels(canvas.width, canvas.height)
            self.panes.refresh(scene)
        if self.panel is None:
            self.panel, self._shape = Panel(size, self.theme, scene, self.tools.keymap), ()
        shape = (
            size,
            canvas.whole,
            scene.view,
            scene.show_hud,
            scene.show_help,
            scene.rewind is None,
            self.tools.show_layers,
            self._picker is None,
        )
        if shape == self._shape:
            return self.panel, self.panes, False
        self._shape = shape
        self.panel.arrange(size, layout)
        return self.panel, self.panes, True

    def draw_panes(
        self,
        surface: pygame.Surface,
        scene: Scene,
        layout: Layout,
        panes: PanePixels,
        *,
        changed: dict[str, Rect],
        anew: bool,
    ) -> None:
        """Draw the changed parts of the panes and the overlay over them."""
        over = marks_of(self.tools, scene, layout, self.theme)
        dirty, moved = [], self._view != self.tools.navigation.settings
        self._view = self.tools.navigation.settings
        if moved and not anew:
            for pane in layout.panes:
                surface.fill(BACK, rect_of(pane.area))
                self._boxes.append(rect_of(pane.area))
        for pane in layout.panes:
            box = pane.box if anew or moved else pane.window_box(changed[pane.kind])
            dirty += [box] if not box.empty else []
        if over != self._marks:
            dirty += [mark.box for mark in {*over} ^ {*self._marks}]
        self._marks = over
        dirty += [m.box for m in over if any(not m.box.intersect(box).empty for box in dirty)]
        for box in dirty:
            if self._view.scale is not None:  # a message may be beside the paper
                surface.fill(BACK, rect_of(box))
            for pane in layout.panes:
                panes.draw(surface, pane, box)
        for mark in over:
            if any(not mark.box.intersect(box).empty for box in dirty):
                draw_mark(surface, mark, self.theme)
        self._boxes += [rect_of(box) for box in dirty]

    def draw_hud(self, surface: pygame.Surface, scene: Scene, box: Rect, now_s: float, anew: bool) -> None:
        pixels, new = self.hud.surface(scene, (box.width, box.height), now_s)
        if new or anew:
            surface.blit(pixels, box[:2])
            self._boxes.append(rect_of(box))

    def flip(self) -> float:
        """Show the drawn surface; returns the time of display, by time.perf_counter."""
        if self._boxes:
            pygame.display.update(self._boxes)
        return time.perf_counter()

    @property
    def all_new(self) -> bool:
        """Whether the last `draw` changed any pixel of the window."""
        return bool(self._boxes)

    def pixels(self) -> np.ndarray:
        """(H, W, 4) uint8 BGRA view of the window, valid until the next `draw`. Alpha is undefined."""
        return bgra_view(self.surface)

    def screen(self) -> np.ndarray:
        """(H, W, 3) uint8 copy of the window's pixels."""
        return rgb_copy(self.surface)

    def close(self) -> None:
        """Close dialogs, tablet and window. Idempotent."""
        self.close_dialogs()
        if self.tools.tablet is not None:
            self.tools.tablet.close()
        pygame.quit()


def rect_of(box: Rect) -> pygame.Rect:
    return pygame.Rect(box.x0, box.y0, box.width, box.height)


def with_layer(event: Event, scene: Scene) -> Event | None:
    """Convert a command on the active layer to the edit it stands for; None if there is nothing to do."""
    action = event.action
    if not isinstance(action, Command) or not action.name.startswith("layer."):
        return event
    edit = operation(action.name.removeprefix("layer."), scene.canvas.stack)
    return None if edit is None else Event(edit, event.time_s)
