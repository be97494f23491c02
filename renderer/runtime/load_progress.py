"""Progress of loading a model: reported by the loading thread, shown in window and terminal."""

from __future__ import annotations

import sys
from typing import TextIO

from models.api import Cancelled

STEP = 0.1  # share of the load between two lines, if the output is not a terminal


class Progress:
    """A models.api.ProgressCallback. cancelled: the next call raises Cancelled in the loading thread."""

    def __init__(self, out: TextIO | None = None):
        self.line, self.share, self.cancelled = "", None, False
        self._out = out
        self._printed: tuple[str, int | None] = ("", None)
        self._open = False  # the last terminal line has no newline yet

    def __call__(self, line: str, share: float | None = None) -> None:
        if self.cancelled:
            raise Cancelled
        self.line, self.share = line, share
        out = self._out or sys.stderr
        step = 0.01 if out.isatty() else STEP
        mark = (line, None if share is None else int(share / step + 1e-9))
        if mark != self._printed:
            self._print(out, line != self._printed[0])
            self._printed = mark

    def failed(self, line: str) -> None:
        """Print why the load failed, since the window may not have room for the whole line."""
        begin, self._open = "\n" if self._open else "", False
        print(f"{begin}flowbrush: error: {line}", file=self._out or sys.stderr, flush=True)

    def _print(self, out: TextIO, new: bool) -> None:
        """Print a line; on a terminal a percentage overwrites the previous one."""
        begin = "\n" if self._open and new else "\r" if self._open else ""
        self._open = out.isatty() and self.share is not None and self.share < 1
        print(f"{begin}flowbrush: {self.words}", end="" if self._open else "\n", file=out, flush=True)

    @property
    def words(self) -> str:
        """Text of the line with its percentage."""
        return self.line if self.share is None else f"{self.line}: {int(100 * self.share + 1e-9)}%"
