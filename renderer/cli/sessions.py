"""The `sessions` command: lists stored stroke logs, describes one, or draws a contact sheet of all."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from renderer.actions import Begin, Extend, Fill, InputError, Line
from renderer.cli.options import report
from renderer.cli.settings import Sessions
from renderer.files.outputs import writable
from renderer.files.png import write_png
from renderer.stroke_log.log import StrokeLog, read
from renderer.stroke_log.playback import Playback
from renderer.stroke_log.store import LogStore, find_log, log_name
from renderer.ui.view.panes import ivory, over

THUMB, LABEL, GAP, COLUMNS = 256, 36, 12, 4  # pixels
DESK, WORDS = (29, 31, 37), (234, 233, 228)
WIDE = 160  # table width in characters if the output is not a terminal


def summary(path: Path) -> dict:
    """Fields of `sessions show --json`. Raises InputError if the file is not a stroke log."""
    session = read(path)
    actions = [event.action for event in session.events]
    header = session.header
    return {
        "name": log_name(path),
        "file": str(path),
        "bytes": path.stat().st_size,
        "saved": time.strftime("%Y-%m-%d %H:%M", time.localtime(path.stat().st_mtime)),
        "open": path.name.endswith(".open"),
        "seconds": round(session.seconds, 3),
        "strokes": sum(isinstance(action, Begin | Line | Fill) for action in actions),
        "points": sum(len(action.points) for action in actions if isinstance(action, Extend)),
        "events": len(actions),
        "width": header.width,
        "height": header.height,
        "model": header.model,
        "weights": header.weights,
        "settings": header.settings,
        "fault": session.fault or None,
    }


def summaries(paths: Iterable[Path]) -> list[dict]:
    """Summaries of all logs; name and fault of files that are not logs."""
    rows = []
    for path in paths:
        try:
            rows.append(summary(path))
        except InputError as error:
            rows.append({"name": log_name(path), "file": str(path), "fault": str(error)})
    return rows


def tell(settings: Sessions) -> None:
    """Run the command: print the list or one log, or write the sheet. Raises InputError."""
    writable(settings.sheet, overwrite=settings.overwrite)
    if settings.show not in (None, "show"):
        raise InputError(f"sessions knows `show LOG`, not {settings.show!r}")
    if settings.show and settings.log is None:
        raise InputError("name the log: sessions show LOG")
    folder = LogStore().folder
    paths = [find_log(settings.log)] if settings.log else LogStore().logs()[::-1]
    if settings.show:
        report(summary(paths[0]), settings.json)
    elif settings.json:
        print(json.dumps({"folder": str(folder), "sessions": summaries(paths)}))
    else:
        print_table(summaries(paths))
        print(f"in {folder}")
    if settings.sheet is not None:
        write_sheet(paths, settings.sheet, overwrite=settings.overwrite)


def print_table(rows: list[dict]) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    names = ("saved", "length", "strokes", "size", "model", "KB", "")
    columns = [Column("log", no_wrap=True), *(Column(name, overflow="fold") for name in names)]
    table = Table(*columns, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for row in rows:
        if "seconds" not in row:
            table.add_row(escape(row["name"]), *[""] * 6, "not a stroke log")
            continue
        minutes, seconds = divmod(round(row["seconds"]), 60)
        note = "cut short" if row["fault"] else "open" if row["open"] else ""
        size = f"{row['width']}x{row['height']}"
        figures = (row["saved"], f"{minutes}:{seconds:02}", str(row["strokes"]), size)
        table.add_row(
            escape(row["name"]), *figures, escape(Path(row["model"]).name), f"{row['bytes'] / 1e3:.1f}", note
        )
    Console(width=None if sys.stdout.isatty() else WIDE).print(table)


def write_sheet(paths: Iterable[Path], output: Path, *, overwrite: bool = False) -> int:
    """Write a contact sheet with the last paper of every log. Returns their number; InputError if none."""
    cards = []
    for path in paths:
        try:
            cards.append(card(log_name(path), read(path)))
        except InputError:  # reported in the list
            continue
    if not cards:
        raise InputError("there is no stroke log to show")
    cards += [np.full_like(cards[0], DESK)] * (-len(cards) % min(COLUMNS, len(cards)))
    wide = min(COLUMNS, len(cards))
    rows = [np.concatenate(cards[at : at + wide], 1) for at in range(0, len(cards), wide)]
    write_png(output, np.concatenate(rows), overwrite=overwrite)
    return len(cards)


def card(name: str, session: StrokeLog) -> np.ndarray:
    """Sheet entry, (THUMB + LABEL + GAP, THUMB + GAP, 3) uint8: last paper, with name and length below."""
    longer = max(session.header.width, session.header.height)
    wide, high = (
        max(1, round(side * THUMB / longer)) for side in (session.header.width, session.header.height)
    )
    size = wide, high
    playback = Playback(session, size)
    playback.advance(float("inf"))
    made = np.full((THUMB + LABEL + GAP, THUMB + GAP, 3), DESK, np.uint8)
    made[: size[1], : size[0]] = over(ivory(*size), playback.canvas.seen)
    words = f"{name}  {session.seconds:.0f} s"
    place, face = (2, THUMB + 22), cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(made, words, place, face, 0.42, WORDS, 1, cv2.LINE_AA)
    return made
