"""Compact encoding of actions as JSON values for the stroke log, exact to a tenth of a pixel.

Every value is a list: milliseconds since the previous value, a letter for the kind of action, its numbers.
Points of a stroke, which make up most of a log, are a string instead: the same milliseconds, then
differences from point to point in tenths of a pixel and hundredths of pressure, one or more characters each.
"""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Literal, TypeVar, get_args, get_type_hints

from models.api import MATERIALS
from renderer.actions import (
    Action,
    Begin,
    Brush,
    Change,
    Clear,
    End,
    Extend,
    Fill,
    FillSelection,
    LayerEdit,
    Line,
    MoveSelection,
    OpenDocument,
    Paste,
    PlaceImage,
    Point,
    Redo,
    Select,
    Symmetry,
    Undo,
)
from renderer.canvas.materials import material_of

PLAIN = {"z": Undo, "y": Redo, "c": Clear, "x": End}
DIGITS = "".join(chr(code) for code in range(33, 127) if chr(code) not in '"\\')  # need no escapes in JSON
BASE = len(DIGITS) // 2  # the first half are digits that continue a number, the second half end it
MAX_DIGITS = 6
MOST_WAIT_MS = 1e9  # longest time between two actions: eleven days
MOST_PX = 16_384  # largest coordinate: longer strokes take seconds to draw
MOST_BRUSH_PX = 512
MOST_IMAGES = 32  # largest count of a symmetry
DYNAMICS: tuple[Literal["size", "opacity"], ...] = get_args(get_type_hints(Brush)["dynamics"])
SYMMETRIES: tuple[Literal["vertical", "horizontal", "radial"], ...] = get_args(
    get_type_hints(Symmetry)["kind"]
)
LAYER_OPS = get_args(get_type_hints(LayerEdit)["op"])
SHAPES, MODES = (get_args(get_type_hints(Select)[name]) for name in ("shape", "mode"))


Name = TypeVar("Name", bound=str)


def quantized(action: Action) -> Action:
    """The action rounded as the log stores it. The loop applies this one, so that a replay is identical."""
    match action:
        case Begin(brush, point):
            return Begin(rounded_brush(brush), rounded_point(point))
        case Extend(points):
            return Extend(tuple(rounded_point(point) for point in points))
        case Line(brush, (ax, ay), (bx, by)):
            return Line(rounded_brush(brush), (round(ax, 1), round(ay, 1)), (round(bx, 1), round(by, 1)))
        case Fill(color, x, y, tolerance, material):
            return Fill(color, round(x, 1), round(y, 1), tolerance, material)
        case PlaceImage(png, x, y, scale, angle):
            return PlaceImage(png, round(x, 1), round(y, 1), round(scale, 4), round(angle, 2))
        case Select(shape, points, material, mode):
            return Select(shape, tuple((round(x, 1), round(y, 1)) for x, y in points), material, mode)
    return action


def rounded_point(point: Point) -> Point:
    return round(point[0], 1), round(point[1], 1), round(point[2], 2)


def rounded_brush(brush: Brush) -> Brush:
    size, hardness, opacity = round(brush.size_px, 1), round(brush.hardness, 2), round(brush.opacity, 2)
    r, g, b = (int(c) for c in brush.color)
    turned = brush.symmetry
    if turned is not None:
        turned = replace(turned, x=round(turned.x, 1), y=round(turned.y, 1))
    return Brush((r, g, b), size, hardness, opacity, brush.erase, brush.material, brush.dynamics, turned)


class Codec:
    """Encodes and decodes the actions of one log, in order: each point is stored relative to the last one."""

    def __init__(self) -> None:
        self._at: tuple[int, int, int] = (0, 0, 0)  # last point, in the units of `tenths`

    def encode(self, wait_ms: int, action: Action) -> list | str:
        """The action as one JSON value, wait_ms after the previous one."""
        if isinstance(action, Extend):
            return packed([wait_ms, *self.differences(action.points)])
        return [wait_ms, *self.fields(action)]

    def decode(self, value: list | str) -> tuple[int, Action]:
        """Decode to (wait_ms, action). Raises ValueError or TypeError for what `encode` does not write."""
        if isinstance(value, str):
            wait_ms, *numbers = unpacked(value)
            action = self.points(numbers)
        else:
            wait_ms, *fields = value
            action = self.action(fields)
        if limited(wait_ms, MOST_WAIT_MS) < 0:
            raise ValueError("time does not run back")
        return int(wait_ms), action

    def differences(self, points: tuple[Point, ...]) -> list[int]:
        numbers = []
        for point in points:
            at = tenths(point)
            numbers += [a - b for a, b in zip(at, self._at, strict=True)]
            self._at = at
        return numbers

    def points(self, numbers: list[int]) -> Extend:
        if len(numbers) % 3 or not all(isinstance(n, int) for n in numbers):
            raise ValueError("points come in threes of whole numbers")
        points = []
        for i in range(0, len(numbers), 3):
            x, y, p = (
                int(limited(a + limited(b))) for a, b in zip(self._at, numbers[i : i + 3], strict=True)
            )
            self._at = x, y, p
            points.append(point_of(self._at))
        return Extend(tuple(points))

    def fields(self, action: Action) -> list:
        match action:
            case Begin(brush, point):
                self._at = tenths(point)
                return ["b", *brush_fields(brush), *self._at]
            case Line(brush, start, stop):
                return ["l", *brush_fields(brush), *start, *stop]
            case Fill(color, x, y, tolerance, material):
                return ["f", *color, x, y, tolerance, material]
            case Paste(png):
                return ["p", base64.b64encode(png).decode()]
            case PlaceImage(png, x, y, scale, angle):
                return ["i", base64.b64encode(png).decode(), x, y, scale, angle]
            case OpenDocument(ora):
                return ["o", base64.b64encode(ora).decode()]
            case LayerEdit(op, index, value):
                return ["L", op, index, value]
            case Select(shape, points, material, mode):
                return ["S", shape, mode, material, *(v for point in points for v in point)]
            case FillSelection(color, material):
                return ["F", *color, material]
            case MoveSelection(dx, dy):
                return ["M", dx, dy]
            case Change(name, value):
                return ["s", name, value]
        for letter, kind in PLAIN.items():
            if isinstance(action, kind):
                return [letter]
        raise TypeError(f"not an action for the log: {action!r}")

    def action(self, fields: list) -> Action:
        letter, rest = fields[0], fields[1:]
        if letter == "e":
            return self.points(rest)
        if letter == "b":
            *brush, x, y, p = rest
            self._at = int(limited(x)), int(limited(y)), int(limited(p))
            return Begin(brush_of(brush), point_of(self._at))
        if letter == "l":
            *brush, ax, ay, bx, by = rest
            ax, ay, bx, by = (limited(v, MOST_PX) for v in (ax, ay, bx, by))
            return Line(brush_of(brush), (ax, ay), (bx, by))
        if letter == "f":
            r, g, b, x, y, tolerance, *material = rest
            color = color_of((r, g, b))
            x, y = limited(x, MOST_PX), limited(y, MOST_PX)
            return Fill(color, x, y, int(limited(tolerance)), material_in(material, color))
        if letter == "p":
            return Paste(base64.b64decode(rest[0], validate=True))
        if letter == "i":
            data, x, y, scale, angle = rest
            x, y = limited(x, MOST_PX), limited(y, MOST_PX)
            return PlaceImage(base64.b64decode(data, validate=True), x, y, limited(scale, 64), limited(angle))
        if letter == "o":
            return OpenDocument(base64.b64decode(rest[0], validate=True))
        if letter == "L":
            op, index, value = rest
            if op not in LAYER_OPS or not isinstance(value, str | int | float):
                raise ValueError("an unknown change of a layer")
            return LayerEdit(op, whole_number(index), value)
        if letter == "S":
            shape, mode, material, *places = rest
            if shape not in SHAPES or mode not in MODES or len(places) % 2:
                raise ValueError("an unknown selection")
            places = [limited(v, MOST_PX) for v in places]
            points = tuple(zip(places[::2], places[1::2], strict=True))
            return Select(shape, points, material_in([material], ()), mode)
        if letter == "F":
            r, g, b, material = rest
            return FillSelection(color_of((r, g, b)), material_in([material], ()))
        if letter == "M":
            dx, dy = rest
            return MoveSelection(whole_number(dx), whole_number(dy))
        if letter == "s":
            name, value = rest
            if not isinstance(name, str) or not isinstance(value, str | int | float):
                raise ValueError("a setting is a name and a value")
            return Change(name, value)
        if letter in PLAIN and not rest:
            return PLAIN[letter]()
        raise ValueError(f"unknown action {letter!r}")


def tenths(point: Point) -> tuple[int, int, int]:
    return round(point[0] * 10), round(point[1] * 10), round(point[2] * 100)


def point_of(at: tuple[int, int, int]) -> Point:
    x, y, pressure = at
    return round(x / 10, 1), round(y / 10, 1), round(pressure / 100, 2)


def brush_fields(brush: Brush) -> list:
    fields = [*brush.color, brush.size_px, brush.hardness, brush.opacity, int(brush.erase), brush.material]
    turned = brush.symmetry
    if turned is None:
        return fields if brush.dynamics == "size" else [*fields, DYNAMICS.index(brush.dynamics)]
    kind = SYMMETRIES.index(turned.kind)
    return [*fields, DYNAMICS.index(brush.dynamics), kind, turned.x, turned.y, turned.count]


def brush_of(fields: list) -> Brush:
    r, g, b, size, hardness, opacity, erase, *more = fields
    material, dynamics, turned = more[:1], more[1:2] or [0], more[2:]
    size, color = limited(size, MOST_BRUSH_PX), color_of((r, g, b))
    held = limited(hardness, 1), limited(opacity, 1), bool(erase)
    symmetry = None
    if turned:
        kind, x, y, count = turned
        if not 2 <= whole_number(count) <= MOST_IMAGES:
            raise ValueError(f"a symmetry of {count} is not one that a log holds")
        symmetry = Symmetry(chosen(SYMMETRIES, kind), limited(x, MOST_PX), limited(y, MOST_PX), count)
    return Brush(color, size, *held, material_in(material, color), chosen(DYNAMICS, *dynamics), symmetry)


def chosen(names: tuple[Name, ...], index: int) -> Name:
    if not 0 <= whole_number(index) < len(names):
        raise ValueError(f"there is no number {index} of {', '.join(names)}")
    return names[index]


def color_of(values: tuple) -> tuple[int, int, int]:
    if not all(isinstance(v, int) and 0 <= v <= 255 for v in values):
        raise ValueError("a colour is three whole numbers from 0 to 255")
    return values


def material_in(fields: list, color: tuple) -> int:
    """The material at the end of an action's fields; in format 1 it follows from an exact palette colour."""
    if not fields:
        return material_of(color)
    (number,) = fields
    if not 0 <= whole_number(number) <= len(MATERIALS):
        raise ValueError(f"there is no material {number}")
    return number


def whole_number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > MOST_PX:
        raise ValueError(f"not a whole number that a log holds: {value!r}")
    return value


def limited(value: float, most: float = 10 * MOST_PX) -> float:
    """Return the number. Raises ValueError if it is not a number or too large for a canvas."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= most:
        raise ValueError(f"not a number that a log holds: {value!r}")
    return value


def packed(numbers: list[int]) -> str:
    """Encode integers as text: zigzag (-1, 1, -2 ... become 1, 2, 3 ...), digits with the lowest first."""
    text = []
    for number in numbers:
        folded = 2 * number if number >= 0 else -2 * number - 1
        while folded >= BASE:
            text.append(DIGITS[folded % BASE])
            folded //= BASE
        text.append(DIGITS[BASE + folded])
    return "".join(text)


def unpacked(text: str) -> list[int]:
    """Decode the text of `packed`. Raises ValueError for text that `packed` does not write."""
    numbers, folded, scale = [], 0, 1
    for character in text:
        digit = DIGITS.index(character)
        folded += digit % BASE * scale
        scale *= BASE
        if digit >= BASE:
            numbers.append(-(folded + 1) // 2 if folded % 2 else folded // 2)
            folded, scale = 0, 1
        elif scale > BASE**MAX_DIGITS:
            raise ValueError("a number too long for a log")
    if scale != 1:
        raise ValueError("a number is cut short")
    return numbers
