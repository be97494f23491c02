"""The `race` command: checks its options, runs the race in a window and returns the statistics."""

from __future__ import annotations

from collections.abc import Callable

from models.api import Img2Img
from renderer.cli.lab_settings import Race as Settings
from renderer.cli.settings import side_px
from renderer.files.outputs import check_film, writable
from renderer.files.png import write_png
from renderer.picture_params import PictureParams
from renderer.race.race import Race
from renderer.recording.recorder import Recorder
from renderer.stroke_log.demo import DemoPlayer
from renderer.stroke_log.log import StrokeLog, read
from renderer.stroke_log.store import find_log
from renderer.ui.simple_window import SimpleWindow

DEMO = "lake"  # stroke log replayed when the race runs headless


def check(settings: Settings) -> StrokeLog | None:
    """Check the options; returns the stroke log to paint from, if any. Raises InputError."""
    side_px(settings.size)
    check_film(settings.record, "window", overwrite=settings.overwrite)
    writable(settings.save_last, overwrite=settings.overwrite)
    demo = settings.demo or (DEMO if settings.headless else None)
    return read(find_log(demo)) if demo else None


def run(
    settings: Settings,
    load: Callable[[str], Callable[[], Img2Img]],
    specs: list[str],
    choices: list[str],
    session: StrokeLog | None,
    message: str = "",
) -> tuple[dict, bool]:
    """Run the race. Returns its statistics and whether all workers ended. message: shown at the start."""
    side = side_px(settings.size)
    recorder = Recorder(ring_s=0) if settings.record else None
    params = PictureParams(strength=settings.strength, seed=settings.seed)
    script = DemoPlayer(session, (side, side)) if session else None
    screen = SimpleWindow("Flowbrush: race", headless=settings.headless, resizable=True)
    race = Race(
        screen, load, specs, choices, params, (side, side), script=script, recorder=recorder, message=message
    )
    try:
        if recorder is not None and settings.record is not None:
            recorder.start(settings.record)
        race.run(settings.seconds)
        if settings.save_last:
            write_png(settings.save_last, screen.pixels(), overwrite=settings.overwrite)
        figures = race.figures()
    finally:
        ended = race.close()
    return figures, ended
