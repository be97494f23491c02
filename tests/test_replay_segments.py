"""Replay segments that are resumed, and every output format."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from loop_harness import SlowModel
from video_helpers import decoded, frames_of, planned, silent

from renderer.actions import InputError
from renderer.offline import segments
from renderer.offline.segments import PART_FRAMES, folder_of, produce


def test_a_stopped_replay_goes_on_where_it_was(tmp_path, strokes):
    class Stop(Exception):
        pass

    counted = []

    def stop(count):
        counted.append(count)
        if sum(counted) == PART_FRAMES + 7:
            raise Stop

    made = planned(strokes, tmp_path / "o.mkv", fps=60)
    with pytest.raises(Stop):
        produce(made, stop)
    ready = sorted(folder_of(made).glob("part-*"))
    assert len(ready) == 1 and not (tmp_path / "o.mkv").exists()
    stamp = ready[0].stat().st_mtime_ns
    model = SlowModel()
    again = planned(strokes, tmp_path / "o.mkv", lambda name: model, fps=60)
    kept = ready[0].read_bytes()
    counts = []

    def watch(count):
        counts.append(count)
        assert ready[0].stat().st_mtime_ns == stamp and ready[0].read_bytes() == kept

    produce(again, watch)
    assert sum(counts) == again.frames
    assert not folder_of(made).exists()
    found_s, pictures = decoded(tmp_path / "o.mkv")
    assert len(pictures) == again.frames
    expected = frames_of(planned(strokes, tmp_path / "o.mkv", fps=60))
    assert max(np.abs(a.astype(int) - b).mean() for a, b in zip(pictures, expected, strict=True)) < 2
    assert np.abs(np.array(found_s) - np.arange(len(found_s)) / 60).max() <= 0.001


def test_parts_of_another_plan_are_not_gone_on_with(tmp_path, strokes):
    made = planned(strokes, tmp_path / "o.mkv", fps=10)
    folder_of(made).mkdir()
    (folder_of(made) / "plan.json").write_text('{"flowbrush": "another"}')
    (folder_of(made) / "part-000000.mkv").write_text("from another plan")
    produce(made, silent)
    assert len(decoded(tmp_path / "o.mkv")[0]) == made.frames


def test_a_foreign_folder_in_the_way_is_left_alone(tmp_path, strokes):
    made = planned(strokes, tmp_path / "o.mkv")
    folder_of(made).mkdir()
    (folder_of(made) / "diary.txt").write_text("mine")
    with pytest.raises(InputError, match="in the way"):
        produce(made, silent)
    assert (folder_of(made) / "diary.txt").read_text() == "mine"


def test_a_disk_that_fills_is_one_line(tmp_path, strokes, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(segments.VideoFile, "add", full)
    with pytest.raises(InputError, match="No space left"):
        produce(planned(strokes, tmp_path / "o.mkv"), silent)


# Formats


@pytest.mark.parametrize("name", ["o.mkv", "o.mp4", "o.gif", "o.webp", "folder"])
def test_every_format_holds_every_frame_at_its_time(tmp_path, strokes, name):
    made = planned(strokes, tmp_path / name, fps=10, layout="side")
    produce(made, silent)
    expected = frames_of(made)
    if name == "folder":
        files = sorted((tmp_path / name).iterdir())
        assert [path.name for path in files] == [f"frame-{i:06}.png" for i in range(made.frames)]
        for path, picture in zip(files, expected, strict=True):
            assert (cv2.imread(str(path))[..., ::-1] == picture).all()
        return
    if name == "o.webp":
        times_s, pictures = webp_frames(tmp_path / name)
    else:
        times_s, pictures = decoded(tmp_path / name)
    moments = np.arange(made.frames) / 10
    if len(pictures) < made.frames:  # a repeated picture may be merged into one of longer duration
        assert name == "o.webp" and len(pictures) > made.frames * 0.6
    for at_s, picture in zip(times_s, pictures, strict=True):
        frame = int(np.abs(moments - at_s).argmin())
        assert abs(moments[frame] - at_s) <= 0.0051
        assert np.abs(picture.astype(int) - expected[frame]).mean() < 6, frame


def webp_frames(path) -> tuple[list[float], list[np.ndarray]]:
    image_module = pytest.importorskip("PIL.Image")
    times_s, pictures, now_ms = [], [], 0
    with image_module.open(path) as image:
        for number in range(image.n_frames):
            image.seek(number)
            pictures.append(np.asarray(image.convert("RGB")))
            times_s.append(now_ms / 1000)
            now_ms += image.info["duration"]
    return times_s, pictures
