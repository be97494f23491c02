"""Pacing: time of the next tick, number of steps, time of refinement. Pure functions of (state, now)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

REST_S = 0.18  # the picture is refined after a pause this long
REFINED_STEPS = (2, 4)
PEN_S = 0.25  # the pen counts as moving for this long after a stroke
SOURCE_SHARE = 1 / 20  # of the model's time that a live source may take while the pen moves
SMALLEST_SIDE_PX = 256
RAISE_BELOW = 0.75  # share of the frame budget: effort is raised only to a choice below it
SMOOTHING = 0.25  # weight of the newest frame time in the running mean
FORGETTING = 0.998  # factor per frame on the cost of unused choices: half in 350 frames
MAX_SPIKE = 3.0  # limit on one frame, in means: a stall does not mean a slow model


def next_tick_s(now_s: float, last_due_s: float, display_hz: float) -> float:
    """Due time of the next tick: one interval after that of the last one, however late it ran.

    After a stall of more than an interval it is due at once, and intervals count from there: no burst.
    """
    interval = 1 / display_hz
    due_s = last_due_s + interval
    return due_s if now_s - interval < due_s <= now_s + interval else min(max(due_s, now_s), now_s + interval)


def next_refinement(shown_steps: int, drawing_steps: int, now_s: float, last_edit_s: float) -> int | None:
    """Steps of the next, finer picture while the pen is idle; None while drawing or if none is finer."""
    if now_s - last_edit_s < REST_S:
        return None
    finer = [steps for steps in REFINED_STEPS if steps > max(shown_steps, drawing_steps)]
    return finer[0] if finer else None


def source_due_s(now_s: float, pen_s: float, taken_s: float, frame_ms: float) -> float:
    """Time at which the next frame of a live source may be taken.

    It is now, or while the pen moves, late enough that strokes need not wait for the frame's picture.

    pen_s: time of the last change of the strokes. taken_s: time at which the last frame was taken. frame_ms:
    model time of a picture with a new frame. While the pen moves, at most one stroke in twenty waits for such
    a picture, so the 95th percentile of latency is not affected.
    """
    if now_s - pen_s >= PEN_S:
        return now_s
    return max(now_s, taken_s + frame_ms / 1e3 / SOURCE_SHARE)


def finest(drawing_steps: int, taken: Sequence[int]) -> int:
    """Steps of the finest picture that refinement reaches. taken: numbers of steps the model takes."""
    return max([drawing_steps, *(steps for steps in REFINED_STEPS if steps in taken)])


def smoothed(mean_ms: float | None, newest_ms: float) -> float:
    """Running mean of frame times; a spike counts as at most MAX_SPIKE means."""
    if mean_ms is None:
        return newest_ms
    return mean_ms + SMOOTHING * (min(newest_ms, MAX_SPIKE * mean_ms) - mean_ms)


def learnt(
    measured: Mapping[tuple[int, int], float], choice: tuple[int, int], newest_ms: float
) -> dict[tuple[int, int], float]:
    """Update the mean frame times of all choices after a frame of one of them.

    Another program or a hot processor slows all choices, so the others are scaled along. They also decay
    slowly, so that a choice that was too slow is tried again a few hundred frames later.
    """
    mean_ms = smoothed(measured.get(choice), newest_ms)
    drift = FORGETTING * (mean_ms / measured[choice] if measured.get(choice) else 1.0)
    return {other: ms * drift for other, ms in measured.items()} | {choice: mean_ms}


def predicted_ms(measured: Mapping[tuple[int, int], float], steps: int, side_px: int) -> float | None:
    """Frame time of (steps, side): measured, or scaled in proportion from the nearest measured choice."""
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
    """Choose (steps, side) while drawing to hold target_fps: first fewer steps, then a smaller side.

    current: the present choice; it is raised only with time to spare, which prevents oscillation.
    target_fps 0: returns the wanted steps at full size.
    """
    if target_fps <= 0:
        return wanted_steps, full_side_px
    budget_ms = 1000 / target_fps
    sides = [s for s in (full_side_px * k // 4 // 32 * 32 for k in (4, 3, 2, 1)) if s >= SMALLEST_SIDE_PX]
    choices = [(steps, sides[0]) for steps in range(wanted_steps, 0, -1)] + [(1, side) for side in sides[1:]]
    if current not in choices:
        current = choices[0]
    at = choices.index(current)
    for index, choice in list(enumerate(choices))[max(0, at - 1) :]:  # raised one at a time, lowered at once
        expected = predicted_ms(measured, *choice)
        harder = index < at
        if expected is None or expected <= budget_ms * (RAISE_BELOW if harder else 1.0):
            return choice
    return choices[-1]
