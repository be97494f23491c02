"""What the program has to tell: lines that fade in the window; errors, told once in full and then counted."""

from __future__ import annotations

import sys
import time
import traceback

SHOWN_S = 6.0
LOG_EVERY_ERRORS = 100


class Messages:
    """Lines with an end. errors: how often the loop failed."""

    def __init__(self) -> None:
        self.errors = 0
        self._lines: list[tuple[float, str]] = []

    def say(self, text: str) -> None:
        """Show a line for a while; the same line again only renews it."""
        self._lines = [(until, line) for until, line in self._lines if line != text]
        self._lines.append((time.monotonic() + SHOWN_S, text))

    def at(self, now_s: float) -> list[str]:
        """The lines to show now."""
        self._lines = [(until, text) for until, text in self._lines if until > now_s]
        return [text for _, text in self._lines]

    def complain(self) -> None:
        """Tell of the exception at hand: one traceback, then counted lines, one in LOG_EVERY_ERRORS."""
        self.errors += 1
        reason = sys.exc_info()[1]
        if self.errors == 1:
            traceback.print_exc()
        elif self.errors % LOG_EVERY_ERRORS == 2:
            print(f"flowbrush: {self.errors} errors in the loop: {reason}", file=sys.stderr)
        self.say(f"error: {reason}")
