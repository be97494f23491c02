"""Number of CPU threads for a model: measured at its start, then adapted to its frame times.

Threads of one frame wait for each other at every layer. With another program keeping a core busy, two threads
on two cores took 110 ms a frame and one took 20; with both cores free two took 12. Other counts are tried
from time to time, for a frame or two, and the faster one is kept.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

SMOOTHING = 0.25  # weight of the newest frame in the running mean
MAX_SPIKE = 3.0  # one frame counts at most as this many times the mean
GAIN = 0.85  # a new count must cost less than this share of the present cost
SLOWED = 1.6  # times the best mean: conditions have changed, so fewer threads are tried soon
WARM_UP = 4  # frames that are ignored: kernels are built, caches filled
TRIAL = 2  # frames; the first may build kernels for its count, so the faster one counts
HOPELESS = 2.0  # times the present mean: ends a trial, unless it is the count's first frame
FIRST_WAIT, LAST_WAIT = 64, 1024  # frames between trials; doubles while they find no gain
PROBES, PROBE_SIDE = 5, 384  # matrix products that measure the start, and their side; 1 ms each
PROBE_SPIKE = 8.0  # times the time of one thread: a slower count is not measured further


class ThreadCount:
    """Choose the thread count: `next` returns it for the next frame, `learn` takes the cost of that frame.

    Costs are all in the same unit. Counts are the maximum, its half, its quarter ..., 1. start: the count of
    the first frames.
    """

    def __init__(self, most: int, start: int | None = None):
        self.choices = halves(most)
        self.current = most if start is None else start
        self._mean = self._best = 0.0
        self._frames = -WARM_UP  # since the last trial
        self._wait = 0 if start is None else FIRST_WAIT  # an unmeasured start is tried at once
        self._fewer = self.current > 1  # the next trial's direction
        self._patience = WARM_UP  # frames before the next trial while the frames are slow
        self._trial: tuple[int, list[float]] | None = None  # a count and the costs of its frames
        self._ran: set[int] = set()  # counts that frames have run with

    def next(self) -> int:
        if self._trial is not None:
            return self._trial[0]
        if len(self.choices) == 1 or self._frames < 0:
            return self.current
        slow = self._mean > SLOWED * self._best
        if slow and self._frames >= self._patience:
            self._fewer = True
            self._patience = min(LAST_WAIT, 2 * self._patience)
            self._trial = self._neighbour(), []
            return self._trial[0]
        if not slow:
            self._patience = WARM_UP
        if self._frames >= self._wait:
            self._trial = self._neighbour(), []
            return self._trial[0]
        return self.current

    def learn(self, threads: int, cost: float) -> None:
        cold = threads not in self._ran
        self._ran.add(threads)
        if self._trial is not None:
            self._trial[1].append(cost)
            if len(self._trial[1]) == TRIAL or (cost > HOPELESS * self._mean and not cold):
                self._judge(threads, min(self._trial[1]))
            return
        if self._mean and self._frames >= 0:
            self._mean += SMOOTHING * (min(cost, MAX_SPIKE * self._mean) - self._mean)
            self._best = min(self._best, self._mean)
        else:
            self._mean = self._best = cost
        self._frames += 1

    def _neighbour(self) -> int:
        """Return the next count in the trial's direction; at the end of the range, in the other."""
        at = self.choices.index(self.current)
        found = at + 1 if self._fewer else at - 1
        return self.choices[found if 0 <= found < len(self.choices) else 2 * at - found]

    def _judge(self, threads: int, cost: float) -> None:
        """End a trial: keep its count, or try the other direction after a longer wait."""
        self._trial, self._frames = None, 0
        if cost < GAIN * self._mean:
            self.current, self._mean, self._best = threads, cost, cost
            self._wait, self._patience = FIRST_WAIT, WARM_UP
        else:
            self._wait = min(LAST_WAIT, max(FIRST_WAIT, 2 * self._wait))
            self._fewer = not self._fewer


def halves(most: int) -> list[int]:
    """Return the maximum, its half, its quarter ..., 1."""
    counts = [most]
    while counts[-1] > 1:
        counts.append(counts[-1] // 2)
    return counts


def measured_start(
    most: int, *, work: Callable[[], object] | None = None, clock: Callable[[], float] = time.perf_counter
) -> int:
    """Return the start count: the most threads that currently speed up a matrix product.

    Where another program keeps a core busy, two threads wait for each other, and the first frames of a model
    that started with them took 2.8 s. The count is chosen by the medians of a few interleaved products, some
    20 ms in all.
    """
    before, times = torch.get_num_threads(), {count: [] for count in reversed(halves(most))}
    if work is None:
        a = torch.ones(PROBE_SIDE, PROBE_SIDE)
        work = lambda: a @ a  # noqa: E731
    try:
        for probe in range(PROBES + 1):
            for count, taken in times.items():
                if taken and taken[-1] > PROBE_SPIKE * min(times[1]):
                    continue
                torch.set_num_threads(count)
                begin = clock()
                work()
                if probe:  # the first run builds kernels
                    taken.append(clock() - begin)
    finally:
        torch.set_num_threads(before)
    best, fastest = 1, statistics.median(times[1])
    for count, taken in times.items():
        if statistics.median(taken) < GAIN * fastest:
            best, fastest = count, statistics.median(taken)
    return best
