"""Run the main loop and report its measurements."""

from __future__ import annotations

import time

from renderer.app import App
from renderer.runtime.latency import percentiles


def process_age_s() -> float:
    """Seconds since the start of this process."""
    now_s = time.time()
    import psutil  # takes 20 ms to import, so only after the window opened

    return now_s - psutil.Process().create_time()


def rss_mb() -> float:
    """Resident memory of this process in megabytes."""
    import psutil

    return round(psutil.Process().memory_info().rss / 1e6, 1)


class Watch:
    """Runs an App and measures start-up times and memory."""

    def __init__(self, app: App):
        self.app = app
        self.chosen = (
            app.scene.params.model
        )  # kept here, as the App reverts to the serving model after a failed load
        self.window_s: float | None = None
        self.first_frame_s: float | None = None
        self.rss_first_minute_mb: float | None = None

    def run(self, seconds: float, until_failed: bool = False) -> None:
        """Run the loop for a number of seconds; 0: until quit.

        until_failed: also end if the chosen model cannot be loaded.
        """
        app, began_s = self.app, time.perf_counter()
        self.began_s = began_s
        while app.running and (not seconds or time.perf_counter() - began_s < seconds):
            try:
                app.step()
            except KeyboardInterrupt:  # Ctrl+C in the terminal quits normally
                app.quit()
            if self.window_s is None:
                self.window_s = process_age_s()
            if self.first_frame_s is None and app.picture is not None:
                self.first_frame_s = process_age_s()
            if until_failed and self.load_failed:
                app.quit()
            if self.rss_first_minute_mb is None and time.perf_counter() - began_s >= 60:
                self.rss_first_minute_mb = rss_mb()
        self.seconds = time.perf_counter() - began_s

    @property
    def load_failed(self) -> bool:
        """Whether the chosen model failed to load and no load is in progress; another one may serve."""
        engine = self.app.engine
        elsewhere = engine.error and engine.name != self.chosen and not engine.loading
        return engine.state == "failed" or bool(elsewhere)

    @property
    def problem(self) -> str:
        """One line on why the run failed; empty if it did not."""
        app, capture = self.app, self.app.persistence.capture
        fault = app.engine.error or (capture.recorder.fault if capture else "")
        if not fault and app.engine.name != self.chosen and app.switcher.interim:
            return f"{self.chosen} was not loaded within {self.seconds:.0f} s; give it more --seconds"
        return fault

    def fields(self) -> dict:
        app, stats = self.app, self.app.stats
        card, capture = app.engine.card, app.persistence.capture
        return {
            "first_frame_s": rounded(self.first_frame_s),
            "window_s": rounded(self.window_s),
            "shown_fps": round(stats.flips / self.seconds, 2),
            "model_fps": round(stats.model_frames / self.seconds, 2),
            "input_to_frame_ms": percentiles(stats.latency_ms),
            "tick_ms": percentiles(stats.tick_ms),
            "stage_ms": stats.stage_medians(),
            "model_calls": app.engine.calls,
            "idle_model_calls": stats.idle_calls,
            "stale": stats.stale,
            "dropped": capture.recorder.dropped if capture else None,
            "film_slowed": capture.slowest if capture else None,
            "errors": stats.errors + app.messages.errors,
            "rss_mb": rss_mb(),
            "rss_first_minute_mb": self.rss_first_minute_mb,
            "seconds": round(self.seconds, 2),
            "model": card.name if card else app.scene.params.model,
            "device": card.device if card else None,
            "dtype": card.dtype if card else None,
            "size": app.canvas.width,
            "steps": app.scene.params.steps,
            "problem": self.problem or None,
            **app.live.fields(),
        }


def rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
