"""How many threads a model on the CPU runs with: decided from frame times alone, without a clock.

Threads of one frame wait for each other at every layer. Beside a program that keeps a core busy, two threads
on two cores took 110 ms for a frame, one took 20, and with both cores free two took 12. So other counts are
tried now and then, for a few frames, and the faster one is kept.
"""

from __future__ import annotations

SMOOTHING = 0.25  # weight of the newest frame in the running mean
MAX_SPIKE = 3.0  # one frame counts at most as this many of the mean
GAIN = 0.85  # of the present cost: only then is another count taken
SLOWED = 1.6  # times the best mean ever: something has changed, fewer threads are tried soon
WARM_UP = 4  # frames that are not looked at: kernels are built, caches filled
TRIAL = 3  # frames; the first one builds kernels for its count, so the fastest counts
HOPELESS = 5.0  # times the present mean: such a frame ends a trial
FIRST_WAIT, LAST_WAIT = 64, 1024  # frames between trials; doubles while they bring nothing


class ThreadCount:
    """`next` says the count for the next frame, `learn` takes what the frame cost, in one unit for all.

    Counts are the most, its half, its quarter ..., 1.
    """

    def __init__(self, most: int):
        self.choices = [most]
        while self.choices[-1] > 1:
            self.choices.append(self.choices[-1] // 2)
        self.current = most
        self._mean = self._best = 0.0
        self._frames = -WARM_UP  # since the last trial
        self._wait = 0  # the first trial is made at once: the machine may be busy from the start
        self._fewer = True  # the next trial's direction
        self._patience = WARM_UP  # frames before the next trial while the frames are slow
        self._trial: tuple[int, list[float]] | None = None  # a count and what its frames cost

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
        if self._trial is not None:
            self._trial[1].append(cost)
            if len(self._trial[1]) == TRIAL or cost > HOPELESS * self._mean:
                self._judge(threads, min(self._trial[1]))
            return
        if self._mean and self._frames >= 0:
            self._mean += SMOOTHING * (min(cost, MAX_SPIKE * self._mean) - self._mean)
            self._best = min(self._best, self._mean)
        else:
            self._mean = self._best = cost
        self._frames += 1

    def _neighbour(self) -> int:
        """The next count in the trial's direction; in the other where there is none."""
        at = self.choices.index(self.current)
        found = at + 1 if self._fewer else at - 1
        return self.choices[found if 0 <= found < len(self.choices) else 2 * at - found]

    def _judge(self, threads: int, cost: float) -> None:
        """A trial is over: take its count, or try the other direction after a longer wait."""
        self._trial, self._frames = None, 0
        if cost < GAIN * self._mean:
            self.current, self._mean, self._best = threads, cost, cost
            self._wait, self._patience = FIRST_WAIT, WARM_UP
        else:
            self._wait = min(LAST_WAIT, max(FIRST_WAIT, 2 * self._wait))
            self._fewer = not self._fewer
