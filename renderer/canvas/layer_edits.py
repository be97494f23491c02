"""Layer edits: add, delete, duplicate, merge and move layers, and change layer settings."""

from __future__ import annotations

from dataclasses import replace

from models.api import NOTHING
from renderer.actions import InputError, LayerEdit
from renderer.canvas.layers import MOST_LAYERS, Layer, LayerStack
from renderer.canvas.undo import Change, Changes, PixelChange, StackChange

# Layer settings that change the composite wherever the layer is painted.
SEEN_SETTINGS = ("visible", "opacity", "blend", "reference")


def carry_out(edit: LayerEdit, stack: LayerStack) -> Change | None:
    """Apply a layer edit to the stack. Returns the change that undoes it, or None if nothing changed.

    Raises InputError for a layer that does not exist or a change that is not possible.
    """
    if not 0 <= edit.index < len(stack.layers):
        raise InputError(f"there is no layer {edit.index}; there are {len(stack.layers)}")
    if edit.op == "activate":
        stack.active = edit.index
        return None
    before = StackChange(stack)
    layer = stack.layers[edit.index]
    match edit.op:
        case "add" | "duplicate":
            add(edit, stack)
        case "delete":
            if len(stack.layers) == 1:
                raise InputError("the last layer cannot be deleted; clear it instead")
            unlocked(layer)
            del stack.layers[edit.index]
            stack.active -= stack.active >= edit.index and stack.active > 0
        case "merge":
            return merge(edit.index, stack, before)
        case "move":
            move(edit, stack)
        case name:
            layer.settings = layer.settings.change(name, edit.value)
            stack.rearranged(layer.extent if name in SEEN_SETTINGS else NOTHING)
            return before.made(stack)
    stack.rearranged()
    return before.made(stack)


def key(edit: LayerEdit) -> tuple | None:
    """Undo key: consecutive changes of one setting, as while a slider is dragged, are undone together."""
    return (edit.op, edit.index) if edit.op in ("opacity", "name", "blend") else None


def unlocked(layer: Layer) -> None:
    if layer.settings.locked:
        raise InputError(f"the layer {layer.settings.name!r} is locked; unlock it first")


def add(edit: LayerEdit, stack: LayerStack) -> None:
    """Add a blank layer or a copy of the layer above the layer, and make it active."""
    if len(stack.layers) >= MOST_LAYERS:
        raise InputError(f"there are {MOST_LAYERS} layers, which is the most; merge some first")
    layer = stack.layers[edit.index]
    if edit.op == "duplicate":
        made = layer.copy(replace(layer.settings, name=stack.free_name(layer.settings.name)))
    else:
        made = Layer.blank(stack.whole.width, stack.whole.height)
        made.settings = made.settings.change("name", edit.value or stack.free_name())
    stack.layers.insert(edit.index + 1, made)
    stack.active = edit.index + 1


def merge(index: int, stack: LayerStack, before: StackChange) -> Change:
    """Merge a layer into the one below, whose opacity is baked into its pixels; its blend mode stays."""
    if index == 0:
        raise InputError("there is no layer below to merge with")
    top, below = stack.layers[index], stack.layers[index - 1]
    unlocked(below)
    if top.settings.reference != below.settings.reference:
        raise InputError("a reference layer can be merged only with another one")
    pixels = PixelChange(below, stack.whole, below.pixels, below.materials)
    pair = [Layer(one.pixels, one.materials, replace(one.settings, reference=False)) for one in (below, top)]
    LayerStack(pair).flatten_into(below)
    below.settings = replace(below.settings, opacity=1.0)
    del stack.layers[index]
    stack.active = index - 1
    stack.rearranged()
    return Changes([pixels, before.made(stack)])


def move(edit: LayerEdit, stack: LayerStack) -> None:
    to = edit.value
    if not isinstance(to, int) or not 0 <= to < len(stack.layers):
        raise InputError(f"a layer cannot be moved to {to!r}; there are {len(stack.layers)}")
    active = stack.layer
    stack.layers.insert(to, stack.layers.pop(edit.index))
    stack.active = stack.layers.index(active)
