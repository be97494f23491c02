"""Rewind: show earlier papers, pin moments, return to the present or branch from an earlier paper.

Papers are rebuilt and encoded for the log on a thread: at 2048 pixels each takes a few hundred ms.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from renderer.actions import End, Event, InputError, OpenDocument
from renderer.canvas.layers import LayerStack
from renderer.canvas.open_raster import document_bytes
from renderer.canvas.snapshots import History, HistoryReader
from renderer.scene import RewindState, Scene

SAME_PIN_S = 0.05  # pins closer than this are the same moment


class Rewind:
    """Owns `scene.rewind` and the edits that wait for an earlier paper."""

    def __init__(
        self,
        scene: Scene,
        history: History,
        *,
        show_layers: Callable[[LayerStack | None, float], None],
        apply: Callable[[Event], None],
    ):
        """show_layers: shows other layers without an edit, or the canvas's own for None.

        apply: applies an event.
        """
        self._scene, self._history = scene, history
        self._show_layers, self._apply = show_layers, apply
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="rewind")
        self._reader = HistoryReader(history)
        self._seek: Future[LayerStack] | None = None  # paper of an earlier moment, being rebuilt
        self._sought_s = 0.0  # its moment
        self._branch: Future[OpenDocument] | None = None  # the earlier paper as an edit
        self._branch_asked = False
        self._held: deque[Event] = deque()  # edits to apply after the branch

    @property
    def busy(self) -> bool:
        """Whether a paper is being rebuilt or encoded."""
        return self._seek is not None or self._branch is not None

    def run(self, command: str, value: object, time_s: float) -> None:
        """Run a rewind command: "", "leave", "seek", "pin" or "branch"; "" enters or leaves."""
        state = self._scene.rewind
        if state is None:
            if command == "":
                self.enter(time_s)
            return
        match command:
            case "" | "leave":
                self.leave(time_s)
            case "seek" if isinstance(value, int | float):
                self.seek(float(value))
            case "pin":
                toggle_pin(state)
            case "branch":
                self._branch_asked = True
        self.poll(time_s)

    def enter(self, time_s: float) -> None:
        """Show the timeline. Raises InputError if nothing has been painted yet."""
        span = self._history.span
        if span is None:
            raise InputError("nothing was painted yet: there is nothing to go back to")
        if self._scene.canvas.drawing:
            self._apply(Event(End(), time_s))
        self._sought_s, self._reader = span[1], HistoryReader(self._history)
        self._scene.rewind = RewindState(*span, span[1], self._history.pins)

    def seek(self, at_s: float) -> None:
        """Move to a moment. Its paper is shown once it is rebuilt; until then the previous one stays."""
        state = self._scene.rewind
        if state is not None and not self._branch_asked:
            state.at_s = min(state.end_s, max(state.begin_s, at_s))

    def leave(self, time_s: float) -> None:
        """Return to the present paper."""
        self._scene.rewind = self._seek = self._branch = None
        self._branch_asked = False
        self._show_layers(None, time_s)
        while self._held:
            self._apply(self._held.popleft())

    def hold(self, event: Event) -> bool:
        """Hold an edit made on an earlier paper. Returns False if it can be applied now.

        It is applied after the branch, which is an edit of its own: both are logged and can be undone.
        """
        if self._scene.rewind is None:
            return False
        self._branch_asked = True
        self._held.append(event)
        self.poll(event.time_s)
        return True

    def poll(self, time_s: float) -> None:
        """Show a rebuilt paper and begin the next one. Called once a tick; never waits."""
        state = self._scene.rewind
        if state is None:
            return
        if self._seek is not None and self._seek.done():
            stack, self._seek = self._seek.result(), None
            self._show_layers(stack, time_s)
        if self._seek is None and state.at_s != self._sought_s:
            self._sought_s = state.at_s
            self._seek = self._worker.submit(self._reader.at, state.at_s)
        if self._seek is None and self._branch_asked:
            if self._branch is None:
                self._branch = self._worker.submit(as_document, self._scene.canvas.stack)
            elif self._branch.done():
                self._finish_branch(self._branch.result(), time_s)

    def close(self) -> None:
        """End the thread. Idempotent."""
        self._worker.shutdown(wait=True, cancel_futures=True)

    def _finish_branch(self, document: OpenDocument, time_s: float) -> None:
        """Replace the present paper by the earlier one in one edit, then apply the held edits."""
        self._scene.rewind = self._branch = None
        self._branch_asked = False
        self._scene.canvas.show_own()
        self._apply(Event(document, time_s))
        while self._held:
            self._apply(self._held.popleft())


def toggle_pin(state: RewindState) -> None:
    """Pin the moment shown, or remove its pin."""
    near = [pin for pin in state.pins if abs(pin - state.at_s) < SAME_PIN_S]
    if near:
        state.pins.remove(near[0])
    else:
        state.pins.append(state.at_s)
        state.pins.sort()


def as_document(stack: LayerStack) -> OpenDocument:
    """An OpenDocument action with these layers, both encoded for the log and decoded."""
    return OpenDocument(document_bytes(stack), stack)
