"""Tests of the one-slot mailbox: the latest request wins, dirty areas accumulate."""

import threading
import time

import numpy as np

from models.api import NOTHING, Rect, Request
from renderer.runtime.mailbox import Mailbox

PAPER = np.zeros((8, 8, 4), np.uint8)


def ask(sequence: int, dirty: Rect = NOTHING) -> Request:
    return Request(PAPER, sequence=sequence, dirty=dirty)


def test_the_latest_wins_and_its_dirt_holds_all_that_was_overwritten():
    box = Mailbox()
    box.put(ask(1, Rect(0, 0, 2, 2)))
    box.put(ask(2, Rect(4, 4, 5, 5)))
    box.put(ask(3, Rect(1, 1, 3, 3)))
    taken = box.take(0)
    assert (taken.sequence, taken.dirty) == (3, Rect(0, 0, 5, 5))
    assert box.take(0) is None


def test_what_was_taken_is_not_added_again():
    box = Mailbox()
    box.put(ask(1, Rect(0, 0, 2, 2)))
    box.take(0)
    box.put(ask(2, Rect(4, 4, 5, 5)))
    assert box.take(0).dirty == Rect(4, 4, 5, 5)


def test_a_failed_request_gives_its_dirt_back_to_the_next():
    box = Mailbox()
    box.put(ask(1, Rect(0, 0, 2, 2)))
    box.give_back(box.take(0).dirty)
    box.put(ask(2, Rect(4, 4, 5, 5)))
    assert box.take(0).dirty == Rect(0, 0, 5, 5)
    box.put(ask(3, Rect(6, 6, 7, 7)))
    assert box.take(0).dirty == Rect(6, 6, 7, 7)


def test_take_waits_and_put_wakes_it():
    box, taken = Mailbox(), []
    thread = threading.Thread(target=lambda: taken.append(box.take(10)))
    thread.start()
    time.sleep(0.05)
    began = time.perf_counter()
    box.put(ask(7))
    thread.join(5)
    assert taken[0].sequence == 7
    assert time.perf_counter() - began < 1


def test_close_wakes_the_waiting_and_nothing_is_served_after():
    box, taken = Mailbox(), []
    thread = threading.Thread(target=lambda: taken.append(box.take(10)))
    thread.start()
    box.close()
    box.close()
    thread.join(5)
    box.put(ask(1))
    assert taken == [None]
    assert box.take(0) is None
