"""Pacing: when the next tick is due, how many steps to ask for, when to refine. Functions of (state, now)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

REST_S = 0.18  # after such a pause the picture is refined
REFINED_STEPS = (2, 4)
PEN_S = 0.25  # the pen counts as moving for so long after a stroke
SOURCE_SHARE = 1 / 20  # of the model's time that a live source may take while the pen moves
SMALLEST_SIDE_PX = 256
RAISE_BELOW = 0.75  # share of the frame budget: only a choice below it is taken up to
SMOOTHING = 0.25  # weight of the newest frame time in the running mean
FORGETTING = 0.998  # factor a frame on the cost of choices not in use: half in 350 frames
MAX_SPIKE = 3.0  # one frame counts as at most this many means: a stall is not a slow model


def next_tick_s(now_s: float, last_due_s: float, display_hz: float) -> float:
    """When the next tick is due: one interval after the last was due, however late that one was.

    After a stall of more than an interval it is due at once, and counting starts there: no burst of ticks.
    """
    interval = 1 / display_hz
    due_s = last_due_s + interval
    return due_s if now_s - interval < due_s <= now_s + interval else min(max(due_s, now_s), now_s + interval)


def next_refinement(shown_steps: int, drawing_steps: int, now_s: float, last_edit_s: float) -> int | None:
    """Steps of the next, finer picture while the pen rests; None while drawing or if none is finer."""
    if now_s - last_edit_s < REST_S:
        return None
    finer = [steps for steps in REFINED_STEPS if steps > max(shown_steps, drawing_steps)]
    return finer[0] if finer else None


def source_due_s(now_s: float, pen_s: float, taken_s: float, frame_ms: float) -> float:
    """When the next frame of a live source may be taken: now, or while the pen moves so late that strokes
    need not wait for its picture.

    pen_s: when the strokes changed last. taken_s: when a frame was taken last. frame_ms: what the model takes
    for a picture with a new frame. While the pen moves, one stroke in twenty at most meets such a picture,
    which the 95th percentile of their latency does not see.
    """
    if now_s - pen_s >= PEN_S:
        return now_s
    return max(now_s, taken_s + frame_ms / 1e3 / SOURCE_SHARE)


def finest(drawing_steps: int, taken: Sequence[int]) -> int:
    """Steps of the finest picture that refinement reaches. taken: steps that the model takes."""
    return max([drawing_steps, *(steps for steps in REFINED_STEPS if steps in taken)])


def smoothed(mean_ms: float | None, newest_ms: float) -> float:
    """Running mean of frame times; a spike counts as at most MAX_SPIKE means."""
    if mean_ms is None:
        return newest_ms
    return mean_ms + SMOOTHING * (min(newest_ms, MAX_SPIKE * mean_ms) - mean_ms)


def learnt(
    measured: Mapping[tuple[int, int], float], choice: tuple[int, int], newest_ms: float
) -> dict[tuple[int, int], float]:
    """The mean times of all choices after a frame of one of them.

    What makes one choice slower, such as another program or a hot processor, slows all: the others are scaled
    with it. They also decay slowly, so that one that was too slow is tried again some hundred frames later.
    """
    mean_ms = smoothed(measured.get(choice), newest_ms)
    drift = FORGETTING * (mean_ms / measured[choice] if measured.get(choice) else 1.0)
    return {other: ms * drift for other, ms in measured.items()} | {choice: mean_ms}


def predicted_ms(measured: Mapping[tuple[int, int], float], steps: int, side_px: int) -> float | None:
    """Frame time of (steps, side), from its own measurement or by proportion from the nearest other one."""
    if (steps, side_px) in measured:
        return measured[steps, side_px]
    if not measured:
        return None
    known = min(measured, key=lambda k: (abs(k[1] - side_px), abs(k[0] - steps)))
    return measured[known] * (steps / known[0]) * (side_px / known[1]) ** 2


def choose_effort(
    target_fps: float,
    measured: Mapping[tuple[int, int], float],
    wanted_steps: int,
    full_side_px: int,
    current: tuple[int, int],
) -> tuple[int, int]:
    """(steps, side) while drawing so that the model holds target_fps: fewer steps first, then a smaller side.

    current: the present choice; it is raised only with time to spare, so that it does not oscillate.
    target_fps 0: the wanted steps at full size.
    """
    if target_fps <= 0:
        return wanted_steps, full_side_px
    budget_ms = 1000 / target_fps
    sides = [s for s in (full_side_px * k // 4 // 32 * 32 for k in (4, 3, 2, 1)) if s >= SMALLEST_SIDE_PX]
    choices = [(steps, sides[0]) for steps in range(wanted_steps, 0, -1)] + [(1, side) for side in sides[1:]]
    if current not in choices:
        current = choices[0]
    at = choices.index(current)
    for index, choice in list(enumerate(choices))[max(0, at - 1) :]:  # up by one at a time, down at once
        expected = predicted_ms(measured, *choice)
        harder = index < at
        if expected is None or expected <= budget_ms * (RAISE_BELOW if harder else 1.0):
            return choice
    return choices[-1]
