"""Frame pacing on simulated clocks: oversleep, stalls, spikes and a slow model."""

import pytest

from renderer.runtime import pacing
from renderer.runtime.pacing import choose_effort, learnt, next_refinement, next_tick_s, smoothed

HZ = 50.0  # an interval of 20 ms


def drive(cost_ms, *, target_fps: float, wanted: int = 4, side: int = 512, frames: int = 60):
    """Run the controller on a model with frame time cost_ms(steps, side, index); return its choices."""
    measured, choice, choices = {}, (wanted, side), []
    for index in range(frames):
        choice = choose_effort(target_fps, measured, wanted, side, choice)
        choices.append(choice)
        measured = learnt(measured, choice, cost_ms(*choice, index))
    return choices


@pytest.mark.parametrize(
    ("now", "last_due", "expected"),
    [
        (10.005, 10.0, 10.02),  # early: one interval after the last due time
        (10.020, 10.0, 10.02),  # on time
        (10.027, 10.0, 10.02),  # overslept by 7 ms: due at once, same schedule
        (17.3, 10.0, 17.3),  # stalled for seconds: due at once, schedule restarts
        (9.0, 10.0, 9.02),  # the clock runs backwards: at most one interval
    ],
)
def test_the_next_tick(now, last_due, expected):
    assert next_tick_s(now, last_due, HZ) == pytest.approx(expected)


def run(costs, *, oversleep=0.0, start=10.0):
    """Return the start times of ticks that take `costs` seconds each."""
    now, due, begun = start, start, []
    for cost in costs:
        due = next_tick_s(now, due, HZ)
        now = max(now, due + oversleep if due > now else now)
        begun.append(round(now, 6))
        now += cost
    return begun


def test_the_work_of_a_tick_and_oversleep_do_not_slow_the_rhythm():
    assert run([0.012] * 5) == pytest.approx([10.02, 10.04, 10.06, 10.08, 10.10])
    begun = run([0.012] * 50, oversleep=0.004)
    assert (begun[-1] - begun[0]) / 49 == pytest.approx(0.02)


def test_a_stall_is_followed_by_the_old_rhythm():
    """After a stall of 5 s the next tick is due at once and later ones an interval apart, without a burst."""
    begun = run([0.001, 5.0, 0.001, 0.001, 0.001])
    assert begun == pytest.approx([10.02, 10.04, 15.04, 15.06, 15.08])


def test_a_spike_of_less_than_an_interval_is_caught_up():
    assert run([0.001, 0.030, 0.001, 0.001]) == pytest.approx([10.02, 10.04, 10.07, 10.08])


def test_refinement_waits_for_the_pen_to_rest():
    assert next_refinement(1, 1, 100.0 + pacing.REST_S - 0.01, 100.0) is None
    assert next_refinement(1, 1, 100.0 + pacing.REST_S, 100.0) == 2
    assert next_refinement(2, 1, 101.0, 100.0) == 4
    assert next_refinement(4, 1, 101.0, 100.0) is None


def test_refinement_starts_above_what_is_drawn_with():
    assert next_refinement(2, 2, 101.0, 100.0) == 4
    assert next_refinement(3, 3, 101.0, 100.0) == 4
    assert next_refinement(4, 4, 101.0, 100.0) is None
    assert next_refinement(1, 2, 101.0, 100.0) == 4


def test_without_a_target_the_wish_holds():
    assert choose_effort(0, {(3, 512): 900.0}, 3, 512, (1, 256)) == (3, 512)


def test_nothing_is_cut_before_anything_was_measured():
    assert choose_effort(30, {}, 4, 512, (4, 512)) == (4, 512)


def test_a_fast_model_keeps_all_its_steps():
    assert set(drive(lambda steps, side, _: 2.0 * steps, target_fps=30)) == {(4, 512)}


def test_fewer_steps_come_before_a_smaller_picture():
    """At 10 ms per step at 512 px, 40 fps leaves 25 ms: two steps at the full size."""
    choices = drive(lambda steps, side, _: 10.0 * steps * (side / 512) ** 2, target_fps=40)
    assert choices[-1] == (2, 512)


def test_a_slow_model_gets_a_smaller_picture_and_never_less_than_the_smallest():
    choices = drive(lambda steps, side, _: 50.0 * steps * (side / 512) ** 2, target_fps=30)
    assert choices[-1] == (1, 384)
    assert drive(lambda steps, side, _: 5000.0, target_fps=30)[-1] == (1, 256)


def test_the_choice_holds_the_target_and_does_not_swing():
    def cost(steps, side, _):
        return 24.0 * steps * (side / 512) ** 2

    choices = drive(cost, target_fps=40, frames=200)
    assert set(choices[20:]) == {(1, 512)}


def test_more_is_asked_one_choice_at_a_time():
    assert choose_effort(30, {(1, 256): 1.0}, 4, 512, (1, 256)) == (1, 384)
    assert choose_effort(30, {(1, 512): 1.0}, 4, 512, (1, 512)) == (2, 512)


def test_what_was_too_slow_once_is_tried_again():
    """A choice last measured at 100 ms is tried again while the current one takes 10 ms."""
    measured, choice = {(2, 512): 100.0, (1, 512): 10.0}, (1, 512)
    frames = 0
    while choice == (1, 512) and frames < 2000:
        measured = learnt(measured, choice, 10.0)
        choice = choose_effort(30, measured, 2, 512, choice)
        frames += 1
    assert 300 < frames < 1500


def test_one_spike_changes_nothing():
    """One frame of 50 times the mean time does not count as a slow model."""
    choices = drive(lambda s, side, i: 500.0 if i == 30 else 10.0 * s / 2, target_fps=30, frames=60)
    assert set(choices) == {(4, 512)}


def test_a_model_that_becomes_slow_is_followed_down_and_up_again():
    def cost(steps, side, index):
        return (30.0 if 40 <= index < 120 else 5.0) * steps * (side / 512) ** 2

    choices = drive(cost, target_fps=30, frames=600)
    assert choices[39] == (4, 512)
    assert choices[110] == (1, 512)
    assert choices[-1] == (4, 512)


def test_smoothing_counts_a_spike_as_three_means_at_most():
    assert smoothed(None, 12.0) == 12.0
    assert smoothed(10.0, 1000.0) == pytest.approx(15.0)
    assert smoothed(10.0, 6.0) == pytest.approx(9.0)
