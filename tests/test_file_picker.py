"""Tests of the file picker: folders, thumbnails, safety; platform dialogs with stand-in programs."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pygame
import pytest
from loop_harness import LoopHarness, SlowModel
from PIL import Image

from renderer.actions import Command
from renderer.ui.controls import file_picker
from renderer.ui.controls.file_picker import (
    FilePicker,
    PlatformDialog,
    entries_of,
    platform_command,
    thumbnail,
)
from renderer.ui.headless import Headless


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    for name in (".hidden", "Zoo", "art"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (400, 200), (200, 30, 30)).save(tmp_path / "red.png")
    Image.new("L", (20, 20), 90).save(tmp_path / "art" / "Grey.JPG", "JPEG")
    (tmp_path / "broken.png").write_bytes(b"no image")
    (tmp_path / ".secret.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("text")
    monkeypatch.setattr("renderer.ui.window.pictures_folder", lambda: tmp_path)
    return tmp_path


@pytest.fixture
def one(make_loop, folder) -> LoopHarness:
    loop = make_loop(SlowModel(), window=Headless((1280, 720), 1.0))
    loop.tick(2)
    loop.do(Command("open"))
    loop.tick(2)
    assert picker(loop) is not None
    loop.until(lambda: picker(loop).entries)
    return loop


def picker(one: LoopHarness) -> FilePicker:
    return one.window._picker


def send(one: LoopHarness, *events: pygame.event.Event) -> list:
    made = one.window.read(events, 0.0, one.app.scene)
    one.pending += made
    one.tick(2)
    return [event.action for event in made]


def press(one: LoopHarness, key: int) -> list:
    return send(one, pygame.event.Event(pygame.KEYDOWN, key=key, mod=0, unicode="", scancode=0))


def click(one: LoopHarness, at: tuple[int, int]) -> list:
    return send(one, pygame.event.Event(pygame.MOUSEBUTTONDOWN, pos=at, button=1, touch=False))


def cell(one: LoopHarness, name: str) -> pygame.Rect:
    box = picker(one).box((1280, 720))
    return next(place for path, place in picker(one).grid(box) if path.name == name)


def files(folder: Path) -> dict:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_folders_come_first_and_nothing_hidden(folder):
    assert [path.name for path in entries_of(folder)] == ["art", "Zoo", "broken.png", "red.png"]


def test_thumbnails_keep_their_shape_and_bad_images_have_none(folder):
    made = thumbnail(folder / "red.png", (110, 78))
    assert made is not None and made.size == (110, 55)
    assert thumbnail(folder / "broken.png", (110, 78)) is None


def test_a_click_opens_the_image_and_changes_no_file(one, folder):
    before = files(folder)
    one.until(lambda: picker(one)._thumbnails)
    one.tick(2)
    place = cell(one, "red.png")
    shown = one.window.screen()[place.centery - 15, place.centerx]
    assert np.abs(shown.astype(int) - (200, 30, 30)).max() < 6
    (command,) = click(one, place.center)
    assert command == Command("load", str(folder / "red.png"))
    assert picker(one) is None
    one.until(lambda: not one.app.canvas.blank)
    assert files(folder) == before


def test_folders_are_entered_and_left(one, folder):
    click(one, cell(one, "art").center)
    one.until(lambda: [path.name for path in picker(one).entries] == ["Grey.JPG"])
    press(one, pygame.K_BACKSPACE)
    one.until(lambda: len(picker(one).entries) == 4)
    seed = one.app.scene.params.seed
    for key in (pygame.K_DELETE, pygame.K_r):  # keys neither delete files nor reach the painting
        assert not press(one, key)
    assert picker(one) is not None and len(entries_of(folder)) == 4 and one.app.scene.params.seed == seed
    assert not press(one, pygame.K_ESCAPE)
    assert picker(one) is None and one.app.canvas.blank


def test_a_folder_that_cannot_be_read_is_said(one, folder):
    picker(one).open(folder / "gone")
    one.until(lambda: picker(one).problem)
    one.tick(1)
    assert "No such file" in picker(one).problem


@pytest.mark.skipif(os.name != "posix", reason="the stand-in is a shell script")
@pytest.mark.parametrize(("script", "chosen"), [("echo /a/b.png", Path("/a/b.png")), ("exit 1", False)])
@pytest.mark.parametrize("program", ["zenity", "kdialog"])
def test_the_platforms_dialog_is_asked(tmp_path, monkeypatch, program, script, chosen):
    (tmp_path / program).write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(file_picker.sys, "platform", "linux")
    monkeypatch.setattr(file_picker.shutil, "which", lambda name: name if name == program else None)
    command = platform_command(tmp_path)
    assert command is not None and command[0] == program
    dialog = PlatformDialog(command)
    end_s = time.perf_counter() + 10
    while (found := dialog.result()) is True:
        assert time.perf_counter() < end_s
    assert found == chosen
    dialog.close()
