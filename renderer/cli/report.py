"""What a run of the loop measured, as the fields of `paint --json`."""

from __future__ import annotations

import os
import sys
import time

from renderer.app import App
from renderer.runtime.latency import percentiles

BEGAN_S = time.monotonic()


def process_age_s() -> float:
    """Seconds since this process began; since this module was imported where the system does not tell."""
    try:
        with open("/proc/self/stat", encoding="ascii") as file:
            ticks = float(file.read().rsplit(")", 1)[1].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, ValueError):
        return time.monotonic() - BEGAN_S


def rss_mb() -> float:
    """Resident memory of this process; its peak where the system tells no more."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return round(int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)
    except (OSError, ValueError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)


class Watch:
    """Runs an App and keeps the few times that the App itself does not."""

    def __init__(self, app: App):
        self.app = app
        self.window_s: float | None = None
        self.first_frame_s: float | None = None
        self.rss_first_minute_mb: float | None = None

    def run(self, seconds: float, until_failed: bool = False) -> None:
        """Go on for so long, or without end for 0. until_failed: end where there will be no model, too."""
        app, began_s = self.app, time.monotonic()
        self.began_s = began_s
        while app.running and (not seconds or time.monotonic() - began_s < seconds):
            try:
                app.step()
            except KeyboardInterrupt:  # Ctrl+C in the terminal is a wish to quit, like any other
                app.running = False
            if self.window_s is None:
                self.window_s = process_age_s()
            if self.first_frame_s is None and app.picture is not None:
                self.first_frame_s = process_age_s()
            app.running &= not (until_failed and app.engine.state == "failed")
            if self.rss_first_minute_mb is None and time.monotonic() - began_s >= 60:
                self.rss_first_minute_mb = rss_mb()
        self.seconds = time.monotonic() - began_s

    def fields(self) -> dict:
        app, meter = self.app, self.app.meter
        card, camera = app.engine.card, app.keeper.camera
        return {
            "first_frame_s": rounded(self.first_frame_s),
            "window_s": rounded(self.window_s),
            "shown_fps": round(meter.flips / self.seconds, 2),
            "model_fps": round(meter.model_frames / self.seconds, 2),
            "input_to_frame_ms": percentiles(meter.latency_ms),
            "tick_ms": percentiles(meter.tick_ms),
            "stage_ms": meter.stage_medians(),
            "model_calls": app.engine.calls,
            "idle_model_calls": meter.idle_calls,
            "stale": meter.stale,
            "dropped": camera.recorder.dropped if camera else None,
            "film_slowed": camera.slowest if camera else None,
            "errors": meter.errors + app.messages.errors,
            "rss_mb": rss_mb(),
            "rss_first_minute_mb": self.rss_first_minute_mb,
            "seconds": round(self.seconds, 2),
            "model": card.name if card else app.params.model,
            "device": card.device if card else None,
            "dtype": card.dtype if card else None,
            "size": app.canvas.width,
            "steps": app.params.steps,
            "problem": app.engine.error or (camera.recorder.fault if camera else "") or None,
        }


def rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
