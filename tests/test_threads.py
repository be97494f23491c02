"""Choice of the thread count, on simulated frame times."""

import pytest
import torch

from models.device.threads import FIRST_WAIT, LAST_WAIT, TRIAL, WARM_UP, ThreadCount, measured_start

QUIET = {4: 8.0, 2: 12.0, 1: 20.0}
BUSY = {4: 150.0, 2: 110.0, 1: 21.0}


def drive(count: ThreadCount, costs, frames: int) -> list[int]:
    """Run frames whose cost is costs(threads, index); return the thread count of each."""
    used = []
    for index in range(frames):
        used.append(count.next())
        count.learn(used[-1], costs(used[-1], index))
    return used


def test_a_quiet_machine_keeps_all_its_threads_and_tries_others_seldom():
    used = drive(ThreadCount(2), lambda n, _: QUIET[n], 5000)
    assert used[: WARM_UP + TRIAL + FIRST_WAIT] == [2] * WARM_UP + [1] * TRIAL + [2] * FIRST_WAIT
    assert TRIAL <= used.count(1) <= TRIAL * (5000 / LAST_WAIT + 6)
    assert used[-1] == 2


def test_a_program_that_begins_beside_it_is_answered_within_a_few_frames():
    count = ThreadCount(2)
    drive(count, lambda n, _: QUIET[n], 300)
    used = drive(count, lambda n, _: BUSY[n], 60)
    assert used.count(2) <= 2 * WARM_UP
    assert used[-1] == 1


def test_a_program_that_slows_frames_bit_by_bit_is_answered_too():
    """A gradual slowdown is detected even if the first trial still favours two threads."""
    count = ThreadCount(2)
    drive(count, lambda n, _: QUIET[n], 300)
    used = drive(count, lambda n, i: 20.0 if n == 1 else min(110.0, 12.0 + i), 200)
    assert used[-1] == 1


def test_the_first_frame_of_a_count_may_be_slow():
    """Kernels are compiled for each thread count, so its first frame may be slow."""
    count, seen = ThreadCount(2), set()

    def cost(threads, index):
        cold, _ = threads not in seen, seen.add(threads)
        return BUSY[threads] + 200.0 * cold

    assert drive(count, cost, WARM_UP + FIRST_WAIT + 20)[-1] == 1


def test_all_threads_come_back_when_the_program_ends():
    count = ThreadCount(2)
    drive(count, lambda n, _: QUIET[n], 300)
    drive(count, lambda n, _: BUSY[n], 300)
    used = drive(count, lambda n, _: QUIET[n], LAST_WAIT + 10)
    assert used[-1] == 2


def test_a_machine_that_is_busy_from_the_start_is_found_out():
    assert drive(ThreadCount(2), lambda n, _: BUSY[n], WARM_UP + TRIAL + 1)[-1] == 1


def test_a_busy_machine_is_not_tried_with_more_threads_all_the_time():
    count = ThreadCount(2)
    used = drive(count, lambda n, _: BUSY[n], 5000)
    assert used[200:].count(2) <= TRIAL * (5000 / LAST_WAIT + 6)


def test_four_cores_go_down_by_halves_and_up_again():
    count = ThreadCount(4)
    assert count.choices == [4, 2, 1]
    drive(count, lambda n, _: BUSY[n], 400)
    assert count.current == 1
    drive(count, lambda n, _: QUIET[n], 4 * LAST_WAIT)
    assert count.current == 4


def test_one_spike_changes_nothing():
    count = ThreadCount(2)
    used = drive(count, lambda n, i: 500.0 if i == 40 else QUIET[n], 60)
    assert used.count(1) <= 2 * TRIAL
    assert used[-1] == 2


def test_slow_first_frames_are_not_taken_for_the_rule():
    """The first frames compile kernels and are ten times as slow."""
    used = drive(ThreadCount(2), lambda n, i: QUIET[n] * (10 if i < 3 else 1), 60)
    assert used.count(1) == TRIAL and used[-1] == 2


def test_one_core_has_no_choice():
    assert set(drive(ThreadCount(1), lambda n, _: 9.0, 3000)) == {1}


def test_under_load_trials_cost_one_frame_each_and_the_start_none():
    """Starting at one thread, two threads are tried for one frame at a time after a first trial."""
    count = ThreadCount(2, start=1)
    used = drive(count, lambda n, _: BUSY[n], 3000)
    assert used[: WARM_UP + FIRST_WAIT] == [1] * (WARM_UP + FIRST_WAIT)
    longest = max(len(run) for run in "".join(map(str, used)).split("1"))
    assert longest <= TRIAL  # the first trial of a count may compile kernels; later ones take one frame
    assert used.count(2) <= TRIAL + 6  # of 3,000
    assert drive(count, lambda n, _: QUIET[n], LAST_WAIT + 10)[-1] == 2


class Machine:
    """Simulated machine with `free` idle cores, whose clock advances with each product."""

    def __init__(self, free: int):
        self.free, self.now_s = free, 0.0
        self.products = 0

    def work(self):
        threads = torch.get_num_threads()
        self.products += 1
        self.now_s += 0.001 / threads if threads <= self.free else 0.1

    def clock(self) -> float:
        return self.now_s


@pytest.mark.parametrize(
    ("most", "free", "wanted"), [(2, 2, 2), (2, 1, 1), (4, 4, 4), (4, 3, 2), (4, 1, 1), (1, 1, 1)]
)
def test_the_start_is_what_the_machine_has_free(most, free, wanted):
    machine, before = Machine(free), torch.get_num_threads()
    assert measured_start(most, work=machine.work, clock=machine.clock) == wanted
    assert torch.get_num_threads() == before
    assert machine.now_s < 0.25 * (most - free + 1)  # slow counts are not measured further


def test_the_start_is_measured_with_real_products():
    assert measured_start(2) in (1, 2)


def test_the_script_that_measures_latency_under_load_runs_both_ways_in_turn(monkeypatch):
    import latency_under_load

    loops, given = [], iter((30, 90, 34, 70))

    class Loop:
        def __init__(self, command):
            assert "while True" in command[-1]
            loops.append("begun")

        def kill(self):
            loops.append("ended")

        def wait(self):
            pass

    monkeypatch.setattr(latency_under_load.subprocess, "Popen", Loop)

    def run(seconds, cores):
        loops.append("run")
        p95 = next(given)
        return {"input_to_frame_ms": {"p50": p95 / 2, "p95": p95, "p99": p95 * 2}}

    found = latency_under_load.measure(2, 5.0, 2, run=run)
    assert loops == 2 * ["run", "begun", "run", "ended"]
    assert found["idle"]["p95"] == 32 and found["busy"]["p95"] == 80 and found["p95_ratio"] == 2.5
