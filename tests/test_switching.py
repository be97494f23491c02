"""Model switching in the real loop: progress, cancelling, and settings per model."""

from __future__ import annotations

import io
import threading
from dataclasses import replace

import pytest
from loop_harness import SlowModel

from models.api import ModelError
from renderer.actions import Change, Command
from renderer.runtime.load_progress import Progress


class Other(SlowModel):
    """Model of many steps that loads in five parts; each waits for `gate_of_load`."""

    def __init__(self, name: str = "other", steps=range(1, 51), default_steps: int = 20, strength=0.7):
        super().__init__()
        self.card = replace(
            self.card,
            name=name,
            steps=tuple(steps),
            default_steps=default_steps,
            default_strength=strength,
        )
        self.progress, self.gate_of_load, self.loads, self.ended = None, threading.Semaphore(0), 0, []
        self.painted = threading.Event()  # its pictures wait for this

    def __call__(self) -> Other:
        self.loads += 1
        try:
            for part in range(5):
                self.progress("loading other", part / 5)
                assert self.gate_of_load.acquire(timeout=10)
        except BaseException as error:
            self.ended.append(type(error).__name__)
            raise
        return self

    def render(self, request, **more):
        assert self.painted.wait(10)
        return super().render(request, **more)

    def let(self) -> Other:
        """Let loading and rendering proceed without waiting."""
        self.gate_of_load.release(50)
        self.painted.set()
        return self


@pytest.fixture
def switched(make_loop):
    """Factory of loops with a ready painter and other models to switch to."""

    def make(*others: Other):
        one = make_loop(SlowModel()).ready()
        by_name = {other.card.name: other for other in others}

        def load(name, progress):
            by_name[name].progress = progress
            return by_name[name]

        one.app.switcher.load_model = load
        return one

    return make


def switch(one, name: str) -> None:
    one.do(Change("model", name))
    one.app.step()


def come(one, name: str) -> None:
    """Switch models and wait until the new one serves."""
    switch(one, name)
    one.until(lambda: one.app.engine.name == name)
    one.tick()


def test_progress_is_shown_in_the_window_and_on_the_terminal(switched, capsys):
    other = Other()
    one = switched(other)
    switch(one, "other")
    for percent in (0, 20, 40):
        one.until(lambda percent=percent: f"loading other: {percent}%" in one.app.scene.status.text)
        other.gate_of_load.release()
    assert one.app.scene.status.text.endswith("slow goes on, Esc gives up")
    assert "flowbrush: loading other: 20%\nflowbrush: loading other: 40%\n" in capsys.readouterr().err
    other.let()
    one.until(lambda: one.app.engine.name == "other")
    one.tick()
    assert one.app.scene.status.text == "" and "other makes its first picture" in capsys.readouterr().err


def test_the_present_model_serves_until_the_new_one_has_made_a_picture(switched):
    other = Other()
    one = switched(other)
    switch(one, "other")
    other.gate_of_load.release(5)
    one.until(lambda: "makes its first picture" in one.app.scene.status.text)
    shown = one.shown
    one.stroke((20, 20), (60, 60))
    one.until(lambda: one.shown > shown)
    assert one.app.scene.card.name == "slow"
    other.painted.set()
    one.until(lambda: one.app.scene.card.name == "other")
    assert len(other.requests) >= 1


def test_esc_gives_a_load_up(switched):
    other = Other()
    one = switched(other)
    switch(one, "other")
    one.until(lambda: other.loads == 1)
    one.do(Command("help"), Command("back"))
    one.app.step()
    assert not one.app.scene.show_help and one.app.engine.loading, "Esc closes the help first"
    one.do(Command("back"))
    one.app.step()
    assert not one.app.engine.loading and one.app.scene.params.model == "painter"
    assert "other was given up; painter goes on" in one.messages
    other.gate_of_load.release()
    one.until(lambda: other.ended == ["Cancelled"])
    one.stroke((20, 20), (60, 60))
    one.rest()
    assert one.app.scene.card.name == "slow" and one.app.scene.status.text == ""
    come_again = other.let()
    come(one, "other")
    assert come_again.loads == 2


def test_a_load_that_failed_leaves_the_present_model_and_can_be_tried_again(switched):
    other = Other().let()
    one = switched(other)
    load, one.app.switcher.load_model = one.app.switcher.load_model, lambda name, progress: lambda: fail()
    switch(one, "other")
    one.until(lambda: one.app.scene.status.text == "other: the hub cannot be reached")
    one.tick()  # the load may have failed between this tick's poll and its drawing
    assert one.app.scene.params.model == "painter"
    one.do(Command("back"))
    one.tick(2)
    assert one.app.scene.status.text == ""
    one.app.switcher.load_model = load
    come(one, "other")


def fail():
    raise ModelError("other: the hub cannot be reached")


def own(one) -> tuple[int, float]:
    return one.app.scene.params.steps, one.app.scene.params.strength


def test_each_model_comes_with_its_own_steps_and_strength(switched, tmp_path):
    one = switched(Other("many", default_steps=20, strength=0.7).let(), Other("few", (1, 2), 2, 0.5).let())
    one.app.persistence.log_to(tmp_path / "log.jsonl")
    assert own(one) == (1, 0.6)
    come(one, "many")
    assert own(one) == (20, 0.7)
    one.until(lambda: one.app.picture.request.steps == 20 and one.app.picture.request.strength == 0.7)
    come(one, "few")
    assert own(one) == (2, 0.5)
    come(one, "many")
    assert own(one) == (20, 0.7)
    one.app.close()
    log = (tmp_path / "log.jsonl").read_text()
    assert '"steps"' in log and "0.7" in log, "a replay shows what was seen"


def test_what_the_hand_has_set_goes_along_as_far_as_the_model_takes_it(switched):
    one = switched(Other("many").let(), Other("few", (1, 2), 2, 0.5).let())
    come(one, "many")
    one.do(Change("steps", 9), Change("strength", 0.3))
    one.tick()
    come(one, "few")
    assert own(one) == (2, 0.3)
    assert "few takes 1 to 2 steps, not 9: 2 will be taken" in one.messages
    come(one, "many")
    assert own(one) == (9, 0.3)


def test_what_was_asked_for_at_the_start_holds(switched):
    one = switched(Other("many").let())
    one.app.switcher.explicit = {"steps": 3}
    come(one, "many")
    assert own(one) == (3, 0.7)


def test_steps_asked_for_at_the_start_that_a_model_does_not_take_are_told_of(switched):
    """One line reports it and the nearest valid steps are taken, without an error."""
    one = switched(Other("few", (1, 2), 1, 0.5).let())
    one.app.switcher.explicit = {"steps": 9}
    come(one, "few")
    assert own(one) == (2, 0.5) and one.app.stats.errors == 0
    assert "few takes 1 to 2 steps, not 9: 2 will be taken" in one.messages


def test_steps_that_the_model_does_not_take_are_brought_into_its_range(make_loop):
    one = make_loop(SlowModel()).ready()
    one.do(Change("steps", 30))
    one.tick(2)
    assert one.app.scene.params.steps == 4 and one.app.stats.errors == 0
    assert "slow takes 1 to 4 steps, not 30: 4 will be taken" in one.messages


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_has_one_line_that_counts():
    out = Terminal()
    progress = Progress(out)
    for share in (0.0, 0.001, 0.5, 1.0):
        progress("downloading", share)
    progress("loading")
    start, half, rest = out.getvalue().split("\r")
    assert (start, half) == ("flowbrush: downloading: 0%", "flowbrush: downloading: 50%")
    assert rest == "flowbrush: downloading: 100%\nflowbrush: loading\n"
