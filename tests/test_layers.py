"""Tests of layers and selections: edits, full undo, and byte-exact replay and files."""

from __future__ import annotations

import io
import json
import zipfile
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loop_harness import SlowModel, stroke
from PIL import Image

from models.api import MATERIALS, NOTHING
from renderer.actions import (
    Begin,
    Brush,
    Clear,
    Command,
    End,
    Event,
    Extend,
    Fill,
    FillSelection,
    InputError,
    LayerEdit,
    Line,
    MoveSelection,
    OpenDocument,
    PlaceImage,
    Redo,
    Select,
    Undo,
)
from renderer.canvas.canvas import Canvas
from renderer.canvas.compositing import compose
from renderer.canvas.layers import BLENDS, MOST_LAYERS
from renderer.canvas.open_raster import document_bytes, is_open_raster, read_document
from renderer.canvas.snapshots import History
from renderer.stroke_log.codec import quantized
from renderer.stroke_log.log import LogHeader, LogWriter, read
from renderer.stroke_log.playback import Playback

SIDE = 64
RED = Brush((200, 30, 30), 20, 1.0)

coordinate = st.floats(-9, SIDE + 9).map(lambda v: round(v, 1))
place = st.tuples(coordinate, coordinate)
color = st.tuples(*[st.integers(0, 255)] * 3)
material = st.integers(0, len(MATERIALS))
brush = st.builds(
    Brush,
    color=color,
    size_px=st.floats(2, 40).map(lambda v: round(v, 1)),
    hardness=st.sampled_from((0.0, 0.5, 1.0)),
    opacity=st.sampled_from((0.1, 0.6, 1.0)),
    erase=st.booleans(),
    material=material,
)
index = st.integers(0, 3)
layer_edit = st.one_of(
    st.builds(LayerEdit, st.sampled_from(("add", "delete", "duplicate", "merge", "activate")), index),
    st.builds(LayerEdit, st.just("move"), index, index),
    st.builds(
        LayerEdit,
        st.sampled_from(("visible", "locked", "alpha_lock", "reference")),
        index,
        st.integers(0, 1),
    ),
    st.builds(LayerEdit, st.just("opacity"), index, st.sampled_from((0.0, 0.01, 0.4, 1.0))),
    st.builds(LayerEdit, st.just("blend"), index, st.sampled_from(BLENDS)),
    st.builds(LayerEdit, st.just("name"), index, st.sampled_from(("sky", "山 & <b>", "x" * 200))),
)
select = st.one_of(
    st.builds(
        Select, st.just("rectangle"), st.tuples(place, place), mode=st.sampled_from(("replace", "add"))
    ),
    st.builds(
        Select,
        st.just("lasso"),
        st.tuples(place, place, place, place),
        mode=st.sampled_from(("replace", "subtract", "intersect")),
    ),
    st.builds(Select, st.just("material"), material=material),
    st.builds(Select, st.sampled_from(("all", "none"))),
)
whole_stroke = st.builds(
    lambda held, places: [
        Begin(held, (*places[0], 0.8)),
        Extend(tuple((*p, 0.7) for p in places[1:])),
        End(),
    ],
    brush,
    st.lists(place, min_size=1, max_size=4),
)
edits = st.lists(
    st.one_of(
        whole_stroke,
        st.builds(lambda *words: [Line(*words)], brush, place, place),
        st.builds(lambda c, p, m: [Fill(c, *p, 24, m)], color, place, material),
        st.builds(lambda edit: [edit], layer_edit),
        st.builds(lambda edit: [edit], layer_edit),
        st.builds(lambda edit: [edit], select),
        st.builds(lambda c, m: [FillSelection(c, m)], color, material),
        st.builds(lambda x, y: [MoveSelection(x, y)], st.integers(-30, 30), st.integers(-30, 30)),
        st.sampled_from(([Clear()], [Undo()], [Redo()])),
    ),
    max_size=14,
).map(lambda lists: [quantized(edit) for some in lists for edit in some])


def state(canvas: Canvas) -> tuple:
    """The whole state of a canvas as bytes."""
    layers = [(one.settings, one.pixels.tobytes(), one.materials.tobytes()) for one in canvas.stack.layers]
    selection = None if canvas.selection is None else canvas.selection.tobytes()
    return layers, canvas.stack.active, selection, canvas.pixels.tobytes(), canvas.materials.tobytes()


def carry_out(canvas: Canvas, actions) -> list:
    """Apply all actions that are valid; return those."""
    done = []
    for action in actions:
        before = state(canvas) if not canvas.drawing else None
        try:
            canvas.apply(action)
            done.append(action)
        except InputError as error:
            assert "\n" not in str(error)
            assert before is None or state(canvas) == before  # a rejected action changes nothing
    return done


@settings(max_examples=60, deadline=None)
@given(edits)
def test_the_composite_is_kept_exactly(actions):
    """After every edit the composite equals a full recomposition, and the Rect covers all changed pixels."""
    canvas = Canvas(SIDE, SIDE)
    for action in actions:
        before, labels, eye = canvas.pixels.copy(), canvas.materials.copy(), canvas.seen.copy()
        try:
            box = canvas.apply(action)
        except InputError:
            continue
        changed = (before != canvas.pixels).any(-1) | (labels != canvas.materials)
        changed |= (eye != canvas.seen).any(-1)
        changed[box.slices] = False
        assert not changed.any(), action
        sheets = [one.sheet for one in canvas.stack.layers if one.settings.visible]
        pixels, materials = np.zeros_like(before), np.zeros_like(labels)
        compose(sheets, canvas.whole, pixels, materials)
        assert (pixels == canvas.seen).all()
        assert not canvas.materials[canvas.pixels[..., 3] == 0].any()


@settings(max_examples=60, deadline=None)
@given(edits)
def test_undo_and_redo_go_through_every_edit(actions):
    canvas = Canvas(SIDE, SIDE)
    states = [state(canvas)]
    for action in actions:
        if isinstance(action, Undo | Redo):
            continue
        count = len(canvas.undo_history)
        carry_out(canvas, [action])
        if not canvas.drawing and len(canvas.undo_history) != count:
            states.append(state(canvas))
        elif not canvas.drawing:  # no undo entry: layer switch, slider
            states[-1] = state(canvas)
    total = len(canvas.undo_history)
    for _ in range(total):
        canvas.apply(Undo())
    blank = Canvas(SIDE, SIDE)
    assert state(canvas)[2:] == state(blank)[2:] and len(canvas.stack.layers) == 1
    for _ in range(total):
        canvas.apply(Redo())
    assert state(canvas)[3:] == states[-1][3:]
    assert [one[1:] for one in state(canvas)[0]] == [one[1:] for one in states[-1][0]]


@settings(max_examples=25, deadline=None)
@given(edits)
def test_a_log_replays_every_edit_byte_for_byte(tmp_path_factory, actions):
    canvas, path = Canvas(SIDE, SIDE), tmp_path_factory.mktemp("log") / "log.jsonl"
    writer = LogWriter(path, LogHeader(SIDE, SIDE))
    for number, action in enumerate(carry_out(canvas, actions)):
        writer.write(Event(action, number * 0.02))
    writer.close()
    found = read(path)
    assert not found.fault
    playback = Playback(found)
    playback.advance(float("inf"))
    assert playback.faults == 0 and state(playback.canvas) == state(canvas)


@settings(max_examples=25, deadline=None)
@given(edits)
def test_a_document_comes_back_exactly(actions):
    canvas = Canvas(SIDE, SIDE)
    carry_out(canvas, [*actions, End()])
    found = read_document(document_bytes(canvas.stack, {"seed": 5}), (SIDE, SIDE))
    opened = Canvas(SIDE, SIDE)
    opened.apply(OpenDocument(b"", found.stack))
    first, second = state(canvas), state(opened)
    assert found.about == {"seed": 5} and first[0] == second[0] and first[1] == second[1]
    assert first[3:] == second[3:]


@settings(max_examples=20, deadline=None)
@given(edits)
def test_rewind_brings_back_all_layers(actions):
    canvas, history, states = Canvas(SIDE, SIDE), History(SIDE, SIDE), []
    for number, action in enumerate(actions):
        try:
            canvas.apply(action)
        except InputError:
            continue
        history.event(Event(action, 100.0 + number), canvas)
        states.append((100.0 + number, state(canvas)))
    for time_s, wanted in states:
        shown = Canvas(SIDE, SIDE)
        shown.show(history.at(time_s))
        assert state(shown) == wanted


def painted(*materials: int) -> Canvas:
    """Canvas with one filled layer per material and the top layer active."""
    canvas = Canvas(SIDE, SIDE)
    for number, one in enumerate(materials):
        if number:
            canvas.apply(LayerEdit("add", number - 1))
        canvas.apply(FillSelection((40 * number + 20, 100, 200), one))
    return canvas


@pytest.mark.parametrize(
    ("blend", "expected"), [("normal", 200), ("multiply", 78), ("screen", 222), ("overlay", 157)]
)
def test_blend_modes(blend, expected):
    """Level 200 blended over level 100 (of 255), by the W3C formulas."""
    canvas = Canvas(SIDE, SIDE)
    canvas.apply(FillSelection((100, 100, 100)))
    canvas.apply(LayerEdit("add"))
    canvas.apply(FillSelection((200, 200, 200)))
    canvas.apply(LayerEdit("blend", 1, blend))
    assert canvas.pixels[5, 5].tolist() == pytest.approx([expected] * 3 + [255], abs=1)


def test_a_blend_mode_does_nothing_over_blank_paper():
    canvas = Canvas(SIDE, SIDE)
    canvas.apply(LayerEdit("add"))
    canvas.apply(FillSelection((200, 90, 10)))
    canvas.apply(LayerEdit("blend", 1, "multiply"))
    assert canvas.pixels[5, 5].tolist() == [200, 90, 10, 255]


def test_opacity_of_a_layer():
    canvas = painted(1, 2)
    canvas.apply(LayerEdit("opacity", 1, 0.5))
    assert canvas.pixels[5, 5, 0] == 40 and canvas.pixels[5, 5, 3] == 255
    canvas.apply(LayerEdit("visible", 0, 0))
    assert canvas.pixels[5, 5].tolist() == [60, 100, 200, 128]


def test_the_material_is_that_of_the_topmost_layer_which_gives_half():
    canvas = painted(1, 2, 3)
    assert (canvas.materials == 3).all()
    canvas.apply(LayerEdit("opacity", 2, 0.3))
    assert (canvas.materials == 2).all()
    canvas.apply(LayerEdit("visible", 1, 0))
    assert (canvas.materials == 1).all()


def test_a_reference_layer_is_seen_and_never_reaches_the_model(make_loop):
    one = make_loop(model := SlowModel(), side=256)
    one.do(FillSelection((9, 9, 9), 4), LayerEdit("add"), FillSelection((250, 0, 0), 2))
    one.do(LayerEdit("reference", 1, 1))
    one.ready()
    assert (one.app.canvas.seen[..., 0] == 250).all()
    assert (model.requests[-1].paper[..., 0] == 9).all() and (model.requests[-1].materials == 4).all()
    shown = one.window.screen()
    assert (shown == (250, 0, 0)).all(-1).sum() > 100 * 100  # in the paper pane


def test_a_locked_or_hidden_layer_takes_no_paint(make_loop):
    one = make_loop(SlowModel())
    for name, value in (("locked", 1), ("visible", 0)):
        one.do(LayerEdit(name, 0, value))
        one.stroke((20, 20), (200, 200))
        one.tick(2)
        assert one.app.canvas.blank and any("can be painted" in line for line in one.messages)
        one.do(Undo())
    one.stroke((20, 20), (200, 200))
    one.tick(2)
    assert not one.app.canvas.blank


def test_alpha_lock_keeps_the_shape():
    canvas = Canvas(SIDE, SIDE)
    stroke(canvas, (10, 32), (54, 32), brush=RED)
    alpha = canvas.pixels[..., 3].copy()
    canvas.apply(LayerEdit("alpha_lock", 0, 1))
    stroke(canvas, (32, 0), (32, 63), brush=Brush((0, 0, 250), 30, 1.0, material=3))
    stroke(canvas, (0, 0), (63, 63), brush=Brush(size_px=30, erase=True))
    canvas.apply(Fill((0, 9, 0), 2, 2))
    assert (canvas.pixels[..., 3] == alpha).all()
    assert canvas.pixels[32, 32].tolist() == [0, 0, 250, 255] and canvas.materials[32, 32] == 3
    assert not canvas.pixels[alpha == 0].any()


def test_a_merged_layer_looks_as_both_did():
    canvas = painted(1, 2)
    stroke(canvas, (10, 32), (54, 32), brush=Brush(size_px=20, erase=True))
    canvas.apply(LayerEdit("opacity", 1, 0.6))
    canvas.apply(LayerEdit("blend", 1, "multiply"))
    before = canvas.snapshot()
    canvas.apply(LayerEdit("merge", 1))
    assert len(canvas.stack.layers) == 1 and (canvas.pixels == before).all()
    canvas.apply(Undo())
    assert len(canvas.stack.layers) == 2 and (canvas.pixels == before).all()


def test_layers_that_there_are_not_or_cannot_be():
    canvas = Canvas(SIDE, SIDE)
    for edit in (
        LayerEdit("delete"),
        LayerEdit("merge"),
        LayerEdit("activate", 7),
        LayerEdit("move", 0, 3),
        LayerEdit("opacity", 0, 7),
        LayerEdit("opacity", 0, "much"),
        LayerEdit("blend", 0, "burn"),
        LayerEdit("name", 0, " "),
    ):
        with pytest.raises(InputError):
            canvas.apply(edit)
    for _ in range(MOST_LAYERS - 1):
        canvas.apply(LayerEdit("add"))
    with pytest.raises(InputError, match="merge some"):
        canvas.apply(LayerEdit("duplicate"))
    assert len({one.settings.name for one in canvas.stack.layers}) == MOST_LAYERS


def test_a_slider_is_undone_at_once():
    canvas = painted(1)
    for level in (0.9, 0.7, 0.5):
        canvas.apply(LayerEdit("opacity", 0, level))
    canvas.apply(Undo())
    assert canvas.stack.layer.settings.opacity == 1 and canvas.pixels[5, 5, 3] == 255


# Selection


def test_a_selection_bounds_strokes_fills_and_clear():
    canvas = painted(1)
    canvas.apply(Select("rectangle", ((10, 10), (30, 40))))
    stroke(canvas, (0, 20), (63, 20), brush=RED)
    canvas.apply(Fill((9, 200, 9), 12, 35))
    changed = (canvas.pixels != (20, 100, 200, 255)).any(-1)
    assert changed[10:40, 10:30].all() and changed.sum() == 600
    canvas.apply(Clear())
    assert not canvas.pixels[10:40, 10:30].any() and not canvas.materials[10:40, 10:30].any()
    assert (canvas.pixels[..., 3] > 0).sum() == SIDE * SIDE - 600
    canvas.apply(Fill((1, 1, 1), 50, 50))  # outside the selection: no effect
    assert canvas.pixels[50, 50].tolist() == [20, 100, 200, 255]


def test_a_selection_by_material_and_by_lasso():
    canvas = painted(1)
    stroke(canvas, (32, 0), (32, 63), brush=Brush((9, 9, 9), 20, 1.0, material=7))
    canvas.apply(Select("material", material=7))
    assert ((canvas.selection == 255) == (canvas.materials == 7)).all()
    canvas.apply(Select("lasso", ((0, 0), (64, 0), (64, 32), (0, 32)), mode="intersect"))
    assert (canvas.selection[:31] == 255)[canvas.materials[:31] == 7].all() and not canvas.selection[
        34:
    ].any()
    canvas.apply(Undo())
    canvas.apply(Undo())
    assert canvas.selection is None


def test_moving_a_selection_takes_its_paint_along():
    canvas = Canvas(SIDE, SIDE)
    stroke(canvas, (16, 16), brush=Brush((200, 30, 30), 20, 0.2, 0.8, material=5))
    before, labels = canvas.snapshot(), canvas.snapshot_materials()
    canvas.apply(Select("rectangle", ((0, 0), (32, 32))))
    canvas.apply(MoveSelection(30, 20))
    assert (canvas.pixels[20:52, 30:62] == before[:32, :32]).all()
    assert (canvas.materials[20:52, 30:62] == labels[:32, :32]).all()
    assert (
        not canvas.pixels[:16, :16].any() and canvas.selection[25, 35] == 255 and not canvas.selection[5, 5]
    )
    canvas.apply(Undo())
    assert (canvas.pixels == before).all() and canvas.selection[5, 5] == 255


# OpenRaster


def test_the_file_is_as_the_format_asks():
    """OpenRaster: uncompressed mimetype first, layers top first, sizes, merged image, thumbnail."""
    canvas = painted(1, 2)
    canvas.apply(LayerEdit("name", 1, "top <&> 山"))
    canvas.apply(LayerEdit("blend", 1, "multiply"))
    data = document_bytes(canvas.stack)
    assert is_open_raster(data) and data[30:54] == b"mimetypeimage/openraster"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        root = ElementTree.fromstring(archive.read("stack.xml"))
        assert (root.get("w"), root.get("h")) == ("64", "64")
        layers = root.findall("./stack/layer")
        assert [one.get("name") for one in layers] == ["top <&> 山", "Layer 1"]
        assert layers[0].get("composite-op") == "svg:multiply" and layers[0].get("selected") == "true"
        for one in layers:
            assert Image.open(archive.open(one.get("src"))).size == (64, 64)
        assert (np.array(Image.open(archive.open("mergedimage.png"))) == canvas.pixels).all()
        assert max(Image.open(archive.open("Thumbnails/thumbnail.png")).size) <= 256


def foreign(xml: str, **files: bytes) -> bytes:
    """OpenRaster file as another program writes it. files: layer name without suffix -> PNG."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("mimetype", "image/openraster")
        archive.writestr("stack.xml", xml)
        for name, data in files.items():
            archive.writestr(f"{name}.png", data)
    return made.getvalue()


def block(width: int, height: int, color: tuple[int, ...]) -> bytes:
    made = io.BytesIO()
    Image.new("RGBA", (width, height), color).save(made, "PNG")
    return made.getvalue()


def test_groups_offsets_and_unknown_modes_of_other_programs_are_read():
    xml = """<?xml version='1.0'?><image w="300" h="256"><stack>
    <stack opacity="0.5" visibility="visible"><layer src="a.png" x="-10" y="20" composite-op="krita:dodge"/>
    <layer src="b.png" visibility="hidden"/></stack><layer name="ground" src="c.png" opacity="0.25"/>
    </stack></image>"""
    sky = MATERIALS[0].color
    data = foreign(
        xml, a=block(100, 50, (9, 8, 7, 255)), b=block(5, 5, (1, 1, 1, 9)), c=block(300, 256, (*sky, 255))
    )
    document = read_document(data, (300, 256))
    ground, hidden, top = document.stack.layers
    assert (ground.settings.name, ground.settings.opacity) == ("ground", 0.25)
    assert (hidden.settings.visible, top.settings.opacity, top.settings.blend) == (False, 0.5, "normal")
    assert top.pixels[20:70, :90, 3].all() and not top.pixels[:20].any() and not top.pixels[:, 90:].any()
    assert (ground.materials == 1).all() and not top.materials.any() and document.about == {}


@pytest.mark.parametrize(
    "data",
    [
        foreign("<image w='9' h='9'><stack/></image>"),
        foreign("<image w='9' h='9'><stack><layer src='no.png'/></stack></image>"),
        foreign(
            "<image w='99999' h='99999'><stack><layer src='a.png'/></stack></image>", a=block(9, 9, (1,))
        ),
        foreign("<!DOCTYPE x [<!ENTITY a 'b'>]><image w='9' h='9'><stack/></image>"),
        foreign("<image w='-4' h='x'/>"),
        foreign("not xml"),
        foreign("<image w='9' h='9'><stack>" + "<layer src='a.png'/>" * 40 + "</stack></image>", a=b"x"),
        foreign("<image w='9' h='9'><stack><layer src='a.png'/></stack></image>", a=b"no png"),
        b"PK\x03\x04 image/openraster and nothing else",
    ],
)
def test_a_damaged_document_changes_nothing(data):
    canvas = painted(1)
    before = state(canvas)
    with pytest.raises(InputError) as error:
        canvas.apply(OpenDocument(data))
    assert "\n" not in str(error.value) and state(canvas) == before


def test_a_document_of_another_size_is_fitted():
    canvas = Canvas(512, 256)
    stroke(canvas, (256, 128), brush=Brush((9, 9, 9), 120, 1.0, material=6))
    data = document_bytes(canvas.stack)
    opened = Canvas(256, 256)
    assert opened.apply(OpenDocument(data)) == opened.whole
    assert opened.pixels[128, 128].tolist() == [9, 9, 9, 255] and opened.materials[128, 128] == 6
    assert not opened.pixels[:60].any() and not opened.pixels[196:].any()


def test_layers_work_in_the_loop_and_rewind_brings_them_back(make_loop):
    one = make_loop(SlowModel())
    one.do(FillSelection((9, 9, 9), 1), at_s=100.0)
    one.do(LayerEdit("add"), at_s=101.0)
    one.do(FillSelection((200, 0, 0), 2), at_s=102.0)
    one.tick(2)
    one.do(Command("rewind"), Command("rewind.seek", 101.5))
    one.until(lambda: one.app.canvas.pixels[5, 5, 0] == 9)
    assert len(one.app.canvas.stack.layers) == 2
    one.do(Command("rewind.leave"))
    one.tick(2)
    assert one.app.canvas.pixels[5, 5, 0] == 200


def test_an_edit_that_changes_nothing_seen_returns_no_rect():
    canvas = painted(1, 2)
    assert canvas.apply(LayerEdit("activate", 0)) == NOTHING
    assert canvas.apply(Select("all")) == NOTHING
    assert json.loads(json.dumps(canvas.stack.active)) == 0


# Imported images


def test_an_image_is_laid_down_moved_scaled_and_turned():
    image = block(40, 20, (200, 30, 30, 255))
    canvas = painted(1)
    box = canvas.apply(PlaceImage(image, 20, 40, 0.5))
    assert (box.width, box.height) == (32, 16) and (box.x0 + box.x1, box.y0 + box.y1) == (40, 80)
    assert len(canvas.stack.layers) == 2 and canvas.stack.active == 1
    assert canvas.pixels[40, 20].tolist() == [200, 30, 30, 255]
    assert canvas.materials[40, 20] == 0 and canvas.materials[2, 2] == 1
    canvas.apply(Undo())
    assert len(canvas.stack.layers) == 1 and (canvas.materials == 1).all()
    turned = canvas.apply(PlaceImage(image, 32, 32, 0.5, 90))
    assert abs(turned.width - 16) <= 1 and abs(turned.height - 32) <= 1
    with pytest.raises(InputError):
        canvas.apply(PlaceImage(image, 32, 32, 0.0))
    with pytest.raises(InputError):
        canvas.apply(PlaceImage(b"no image", 32, 32))
    assert len(canvas.stack.layers) == 2


def test_a_placed_image_replays_byte_for_byte(tmp_path):
    canvas = painted(1)
    placed = quantized(PlaceImage(block(40, 20, (200, 30, 30, 90)), 20.123, 40.987, 1.33333, 12.3456))
    writer = LogWriter(tmp_path / "log", LogHeader(SIDE, SIDE))
    for edit in (FillSelection((20, 100, 200), 1), placed):
        writer.write(Event(edit, 1.0))
    writer.close()
    canvas.apply(placed)
    playback = Playback(read(tmp_path / "log"))
    playback.advance(9.0)
    assert playback.faults == 0 and (playback.canvas.pixels == canvas.pixels).all()
    assert (canvas.pixels[..., 3] == 255).all()
