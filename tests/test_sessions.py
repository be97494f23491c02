"""`sessions` command: summaries of the kept stroke logs."""

from __future__ import annotations

import json
import os

import cv2
import pytest
from loop_harness import RED, ROOT

from renderer.actions import Begin, Change, End, Event, Extend, Fill, InputError
from renderer.cli.sessions import summaries, summary, write_sheet
from renderer.stroke_log.log import LogHeader, LogWriter

ACTIONS = [
    Fill((118, 169, 222), 5, 5),
    Begin(RED, (20, 20, 0.8)),
    Extend(((30, 40, 0.8), (90, 50, 0.8))),
    Extend(((120, 99, 0.8),)),
    End(),
    Change("seed", 5),
]


def painted(path, actions=ACTIONS, size=(256, 256)):
    writer = LogWriter(path, LogHeader(*size, "painter", "0123456789abcdef", {"prompt": "fog"}))
    for number, action in enumerate(actions):
        writer.write(Event(action, 0.5 * number))
    writer.close()
    return path


@pytest.fixture
def folder(tmp_path):
    logs = tmp_path / "sessions"
    logs.mkdir()
    for number, name in enumerate(("one.jsonl", "two.jsonl", "three.jsonl.open")):
        os.utime(painted(logs / name), (1e9 + number, 1e9 + number))
    with open(logs / "two.jsonl", "ab") as file:
        file.write(b"[1,")
    os.utime(logs / "two.jsonl", (1e9 + 1, 1e9 + 1))
    (logs / "foreign.jsonl").write_text("[1, 2]")
    return tmp_path


@pytest.fixture
def sessions(folder, program, monkeypatch):
    monkeypatch.setenv("FLOWBRUSH_DATA", str(folder))
    monkeypatch.setenv("COLUMNS", "160")
    return lambda *words: program("sessions", *words)


def test_a_summary_counts_what_was_painted(tmp_path):
    found = summary(painted(tmp_path / "a.jsonl"))
    assert (found["name"], found["seconds"], found["strokes"], found["points"]) == ("a", 2.5, 2, 3)
    assert (found["width"], found["height"], found["model"]) == (256, 256, "painter")
    assert found["settings"] == {"prompt": "fog"} and found["fault"] is None
    assert found["bytes"] == (tmp_path / "a.jsonl").stat().st_size


def test_a_sheet_shows_the_paper_of_every_log(tmp_path):
    paths = [painted(tmp_path / f"{n}.jsonl", [Fill((40 * n, 20, 30), 5, 5)], (512, 256)) for n in range(6)]
    (tmp_path / "foreign.jsonl").write_text("[1]")
    write_sheet([*paths, tmp_path / "foreign.jsonl"], tmp_path / "sheet.png")
    sheet = cv2.imread(str(tmp_path / "sheet.png"))[..., ::-1]
    assert sheet.shape == (2 * 304, 4 * 268, 3)
    for number in range(6):
        y, x = number // 4 * 304, number % 4 * 268
        assert sheet[y + 60, x + 100].tolist() == [40 * number, 20, 30]
        assert sheet[y + 200, x + 100].tolist() == [29, 31, 37]
    with pytest.raises(InputError, match="no stroke log"):
        write_sheet([], tmp_path / "none.png")


def test_the_list_has_a_line_for_every_log_the_newest_first(folder, sessions):
    done = sessions("--json", "--sheet", folder / "sheet.png")
    found = json.loads(done.stdout)["sessions"]
    assert [row["name"] for row in found] == ["foreign", "three", "two", "one"]
    assert found[1]["open"] and not found[3]["open"]
    assert "line 8" in found[2]["fault"] and "not a Flowbrush" in found[0]["fault"]
    assert cv2.imread(str(folder / "sheet.png")).shape == (304, 3 * 268, 3)
    shown = sessions().stdout
    for words in ("one", "0:02", "256x256", "cut short", "not a stroke log"):
        assert words in shown


def test_one_log_in_full(folder, sessions):
    found = json.loads(sessions("show", "two", "--json").stdout)
    assert found["strokes"] == 2 and "line 8" in found["fault"]
    assert "painter" in sessions("show", folder / "sessions" / "one.jsonl").stdout
    assert json.loads(sessions("show", "lake", "--json").stdout)["seconds"] > 60


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("show",), "name the log"),
        (("show", "nothing"), "no stroke log 'nothing'"),
        (("burn", "one"), "not 'burn'"),
        (("show", "foreign"), "not a Flowbrush session"),
        (("--sheet", "/dev/null"), "null"),
    ],
)
def test_bad_input_is_one_line(sessions, refused, words, says):
    assert says in refused("sessions", *words)


def test_the_moving_picture_of_the_readme_is_small_and_the_command_that_makes_it_is_written_down():
    """assets/README.md has its command, which starts with `python main.py replay` and a sample's name."""
    picture = ROOT / "assets" / "painting.webp"
    data = picture.read_bytes()
    assert data[8:12] == b"WEBP" and data.count(b"ANMF") > 50 and len(data) < 3_000_000
    assert "(assets/painting.webp)" in (ROOT / "README.md").read_text(encoding="utf-8")
    told = (ROOT / "assets" / "README.md").read_text(encoding="utf-8")
    assert "`python main.py replay lake -o assets/painting.webp" in told


def test_summaries_of_no_logs_are_none():
    assert summaries([]) == []
