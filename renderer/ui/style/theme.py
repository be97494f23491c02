"""Colours, fonts and sizes of the window, and the pygame_gui theme."""

from __future__ import annotations

from functools import cached_property, lru_cache

import pygame

from assets import ASSETS

FONTS = ASSETS / "fonts"
FACES = {False: "NotoSans-Regular.ttf", True: "NotoSans-Bold.ttf"}

SMOOTH = 4  # supersampling factor of round corners
BACK = (19, 20, 24)  # window background
CARD = (29, 31, 37)  # panel, HUD
WELL = (22, 23, 28)  # grooves, text entries, the graph
RAISED = (44, 47, 55)  # buttons
EDGE = (58, 62, 72)
INK, SOFT, FAINT = (234, 233, 228), (170, 172, 178), (116, 120, 130)
ACCENT, ACCENT_DARK = (232, 168, 84), (142, 94, 38)  # selected elements
GOOD, BAD = (128, 190, 160), (232, 112, 94)


class Theme:
    """Fonts and lengths at a scale. Lengths are for scale 1 (about 96 dpi) and multiplied by `scale`."""

    def __init__(self, scale: float = 1.0):
        self.scale = scale
        self._fonts: dict[tuple[int, bool], pygame.font.Font] = {}

    def px(self, length: float) -> int:
        return round(length * self.scale)

    def box(self, x: float, y: float, width: float, height: float) -> pygame.Rect:
        left, top = self.px(x), self.px(y)
        return pygame.Rect(left, top, self.px(x + width) - left, self.px(y + height) - top)

    def font(self, size: float, bold: bool = False) -> pygame.font.Font:
        key = (self.px(size), bold)
        if key not in self._fonts:
            self._fonts[key] = pygame.font.Font(FONTS / FACES[bold], key[0])
        return self._fonts[key]

    @cached_property
    def body(self) -> pygame.font.Font:
        return self.font(12)

    @cached_property
    def small(self) -> pygame.font.Font:
        return self.font(10.5)

    @cached_property
    def strong(self) -> pygame.font.Font:
        return self.font(12, bold=True)

    @cached_property
    def heading(self) -> pygame.font.Font:
        return self.font(10.5, bold=True)

    @cached_property
    def figure(self) -> pygame.font.Font:
        return self.font(25, bold=True)

    def gui(self) -> dict:
        """The theme for pygame_gui."""

        def px(length: float) -> str:
            return str(self.px(length))

        face = {"name": "noto_sans", "size": px(13)}
        plain = {"shape": "rounded_rectangle", "shadow_width": "0", "shape_corner_radius": px(6)}
        theme = {
            "defaults": {
                "colours": {
                    "dark_bg": hex_color(WELL),
                    "normal_bg": hex_color(RAISED),
                    "hovered_bg": hex_color((56, 60, 70)),
                    "active_bg": hex_color(ACCENT_DARK),
                    "selected_bg": hex_color(ACCENT_DARK),
                    "disabled_bg": hex_color(CARD),
                    "normal_text": hex_color(INK),
                    "hovered_text": "#ffffff",
                    "active_text": "#ffffff",
                    "selected_text": "#ffffff",
                    "disabled_text": hex_color(FAINT),
                    "normal_border": hex_color(EDGE),
                    "hovered_border": hex_color((84, 89, 102)),
                    "active_border": hex_color(ACCENT),
                    "selected_border": hex_color(ACCENT),
                    "disabled_border": hex_color(CARD),
                    "text_cursor": hex_color(ACCENT),
                },
                "misc": {
                    "border_width": "1",
                    "shadow_width": "0",
                    "shape": "rounded_rectangle",
                    "shape_corner_radius": px(6),
                    "tool_tip_delay": "0.5",
                },
            },
            "#default_shape_style": {"misc": plain},
            "#no_frills_button": {"misc": {**plain, "border_width": "0"}},
            "button": {
                "colours": {"normal_border": hex_color(RAISED)},
                "misc": {**plain, "text_horiz_alignment_padding": px(12)},
            },
            "horizontal_slider": {
                "colours": {"dark_bg": "#00000000", "normal_border": "#00000000"},
                "misc": {
                    **plain,
                    "enable_arrow_buttons": "0",
                    "sliding_button_width": px(14),
                    "border_width": "0",
                },
            },
            "horizontal_slider.#sliding_button": {
                "colours": {
                    "normal_bg": hex_color((206, 206, 202)),
                    "hovered_bg": "#ffffff",
                    "active_bg": hex_color(ACCENT),
                    "selected_bg": hex_color(ACCENT),
                    "normal_border": hex_color(CARD),
                    "hovered_border": hex_color(CARD),
                    "active_border": hex_color(CARD),
                },
                "misc": {**plain, "shape_corner_radius": px(7), "border_width": px(2)},
            },
            "text_entry_line": {
                "colours": {"normal_border": hex_color(EDGE), "selected_bg": hex_color(ACCENT_DARK)},
                "misc": {**plain, "padding": f"{px(10)},{px(4)}", "text_horiz_alignment_padding": px(10)},
            },
            "drop_down_menu": {"misc": {**plain, "expand_direction": "up"}},
            "drop_down_menu.button": {"misc": {**plain, "border_width": "0"}},
            "selection_list": {"misc": {**plain, "list_item_height": px(26)}},
            "drop_down_menu.selection_list.button": {"misc": {**plain, "border_width": "0"}},
            "colour_picker_dialog.colour_channel_editor.horizontal_slider": {
                "colours": {"dark_bg": hex_color(WELL)}
            },
            "tool_tip": {"misc": {"rect_width": px(210)}},
            "window": {
                "colours": {"dark_bg": hex_color(CARD)},
                "misc": {"shape": "rounded_rectangle", "shadow_width": px(12)},
            },
        }
        for element in ("button", "text_entry_line", "label", "text_box"):
            theme.setdefault(element, {})["font"] = face
        return theme


@lru_cache(maxsize=512)
def text(words: str, face: pygame.font.Font, color: tuple[int, int, int]) -> pygame.Surface:
    """A rendered text surface, cached."""
    return face.render(words, True, color)


@lru_cache(maxsize=128)
def rounded_plate(
    size: tuple[int, int], color: tuple[int, ...], radius_px: int, width_px: int = 0
) -> pygame.Surface:
    """An antialiased rectangle with round corners; only the outline if width_px is not 0."""
    large = pygame.Surface((size[0] * SMOOTH, size[1] * SMOOTH), pygame.SRCALPHA)
    large.fill((*color[:3], 0))
    corner = radius_px * SMOOTH
    pygame.draw.rect(large, color, large.get_rect(), width_px * SMOOTH, border_radius=corner)
    return pygame.transform.smoothscale(large, size)


def rounded(surface: pygame.Surface, color, box: pygame.Rect, radius_px: int, width_px: int = 0) -> None:
    surface.blit(rounded_plate(tuple(box.size), tuple(color), radius_px, width_px), box)


def hex_color(color: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
