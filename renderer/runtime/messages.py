"""Messages to the user: lines that fade in the window; errors of the loop, printed once and then counted."""

from __future__ import annotations

import math
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from enum import Enum

SHOWN_S = 6.0
SEEN_S = 2.0  # an error shown for this long counts as seen at the next input
LOG_EVERY_ERRORS = 100


class Level(Enum):
    """How serious a message is. The window draws an error in red."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Message:
    """One line of text and how serious it is. An empty text is no message."""

    text: str
    level: Level = Level.INFO

    def __bool__(self) -> bool:
        return bool(self.text)


NO_MESSAGE = Message("")


class Messages:
    """The messages on screen: shown for SHOWN_S seconds, errors until they are seen. Thread-safe.

    errors: number of exceptions that the loop survived.
    """

    def __init__(self) -> None:
        self.errors = 0
        self._lock = threading.Lock()
        self._shown: list[tuple[float, Message]] = []  # (end, message), the oldest first
        self._since_s: dict[str, float] = {}  # text -> when it was added

    def add(self, text: str, level: Level = Level.INFO) -> None:
        """Show a line for SHOWN_S seconds. The same text again replaces the older one."""
        self.add_message(Message(text, level))

    def add_message(self, message: Message) -> None:
        end_s = math.inf if message.level is Level.ERROR else time.perf_counter() + SHOWN_S
        with self._lock:
            self._shown = [(until, old) for until, old in self._shown if old.text != message.text]
            self._shown.append((end_s, message))
            self._since_s[message.text] = time.perf_counter()

    def acknowledge(self, now_s: float) -> None:
        """Note user input: errors shown for at least SEEN_S seconds may disappear."""
        with self._lock:
            self._shown = [
                (until, message)
                for until, message in self._shown
                if message.level is not Level.ERROR or now_s - self._since_s[message.text] < SEEN_S
            ]
            self._since_s = {message.text: self._since_s[message.text] for _, message in self._shown}

    def current(self, now_s: float) -> list[Message]:
        """The messages to show at this time, the oldest first."""
        with self._lock:
            self._shown = [(until, message) for until, message in self._shown if until > now_s]
            return [message for _, message in self._shown]

    def report_exception(self) -> None:
        """Report the exception being handled: one traceback, then every LOG_EVERY_ERRORS-th one in a line."""
        self.errors += 1
        reason = sys.exc_info()[1]
        if self.errors == 1:
            traceback.print_exc()
        elif self.errors % LOG_EVERY_ERRORS == 2:
            print(f"flowbrush: {self.errors} errors in the loop: {reason}", file=sys.stderr)
        self.add(f"error: {reason}", Level.ERROR)
