"""Painting server without a cluster: fair turns, client limit, per-client state and refused requests."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from loop_harness import SlowModel

from models.api import Cancelled, Frame, ModelError, Rect, Request
from models.cluster import painting_server, wire
from models.cluster.painting_server import PaintingServer

BLANK = np.zeros((256, 256, wire.PLANES), np.uint8)


class Client:
    """Client of the server: keeps the paper that the server holds and the picture received from it."""

    def __init__(self, server: PaintingServer, codec: str = "lossless"):
        self.server, self.codec = server, codec
        self.name = server.join(codec)["painter"]
        self.number, self.planes = 0, BLANK
        self.picture = np.zeros((256, 256, 3), np.uint8)

    def ask(self, paper: np.ndarray, *, drawing: bool = True, **changed) -> None:
        request = Request(paper, dirty=Rect(0, 0, 1, 1) if drawing else Rect())
        planes = wire.planes_of(request)
        self.number += 1
        sent = wire.sent_of(request, self.number, self.number - 1, self.planes, planes)
        self.planes = planes
        self.server.submit(self.name, sent.as_dict() | changed)

    def answer(self, wait_s: float = 5.0) -> dict:
        result = self.server.result(self.name, wait_s)
        assert result is not None
        if "patch" in result:
            rect = Rect(*result["rect"])
            if not rect.empty:
                part = self.picture[rect.slices]
                part[:] = wire.decoded(part, result["patch"], self.codec)
        return result


def painted(level: int, box: Rect = Rect(10, 20, 60, 90)) -> np.ndarray:
    paper = np.zeros((256, 256, 4), np.uint8)
    paper[box.slices] = (level, 90, 30, 255)
    return paper


@pytest.fixture
def served():
    """Factory of servers of a model; closes them after the test."""
    made = []

    def make(model, most: int = 4, **options) -> PaintingServer:
        made.append(PaintingServer(lambda: model, most, **options))
        made[-1].describe(10.0)
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_pictures_are_those_of_the_model_and_painters_have_papers_of_their_own(served):
    server = served(SlowModel())
    first, second = Client(server), Client(server)
    for level in (10, 200, 90):
        first.ask(painted(level))
        second.ask(painted(level // 2, Rect(100, 100, 200, 130)))
        for one in (first, second):
            assert one.answer()["number"] == one.number
        for one, paper in ((first, painted(level)), (second, painted(level // 2, Rect(100, 100, 200, 130)))):
            assert np.array_equal(one.picture, SlowModel().render(Request(paper)).picture)


def test_only_what_changed_comes_back(served):
    client = Client(served(SlowModel()))
    client.ask(painted(10))
    assert client.answer()["rect"] == (0, 0, 256, 256)
    client.ask(painted(10))
    assert client.answer()["rect"] == (0, 0, 0, 0)
    client.ask(painted(10, Rect(10, 20, 60, 95)))
    answer = client.answer()
    assert answer["rect"] == (10, 90, 60, 95) and len(answer["patch"]) < 200


def test_the_newest_request_wins_and_the_ones_before_are_told(served):
    gate = threading.Event()
    model = SlowModel(gate=gate)
    client = Client(served(model))
    client.ask(painted(1))
    assert model.serving.wait(5)
    for level in (2, 3, 4):
        client.ask(painted(level))
    gate.set()
    answers = [client.answer() for _ in range(4)]
    assert [one["number"] for one in answers if one.get("cancelled")] == [2, 3]
    assert [one["number"] for one in answers if "patch" in one] == [1, 4]
    assert [one["serial"] for one in answers] == [1, 2, 3, 4]
    assert np.array_equal(client.picture, SlowModel().render(Request(painted(4))).picture)


class Patient(SlowModel):
    """Model that renders requests of several steps until they are cancelled."""

    def render(self, request: Request, *, cancelled, **_) -> Frame:
        self.requests.append(request)
        self.serving.set()
        while request.steps > 1:
            if cancelled():
                raise Cancelled
            threading.Event().wait(0.005)
        return super().render(request)


@pytest.mark.parametrize("how", ["cancel", "stroke"])
def test_a_refinement_gives_way(served, how):
    model = Patient()
    client = Client(served(model))
    client.ask(painted(1), drawing=False, steps=4)
    assert model.serving.wait(5)
    if how == "cancel":
        client.server.cancel(client.name, client.number)
        assert client.answer() == {"serial": 1, "number": 1, "cancelled": True}
    client.ask(painted(2))
    answers = [client.answer() for _ in range(2 if how == "stroke" else 1)]
    assert "patch" in answers[-1] and answers[-1]["number"] == 2
    assert np.array_equal(client.picture, SlowModel().render(Request(painted(2))).picture)


def test_turns_are_fair_and_drawing_comes_before_refining(served):
    gate = threading.Event()
    model = SlowModel(gate=gate)
    server = served(model)
    busy, second, third, resting = (Client(server) for _ in range(4))
    busy.ask(painted(0))
    assert model.serving.wait(5)
    resting.ask(painted(250), drawing=False)
    busy.ask(painted(1))
    second.ask(painted(2))
    third.ask(painted(3))
    gate.set()
    for one in (busy, busy, second, third, resting):
        one.answer()
    levels = [int(request.paper[30, 30, 0]) for request in model.requests]
    assert levels[0] == 0 and set(levels[1:3]) == {2, 3} and levels[3:] == [1, 250]


def test_there_is_a_limit_that_is_said_and_who_left_makes_room(served, monkeypatch):
    now = [0.0]
    server = served(SlowModel(), 2, clock=lambda: now[0])
    first, _ = Client(server), Client(server)
    assert server.join() == {"error": "2 painters are here, and no more may be; try later"}
    server.leave(first.name)
    Client(server)
    assert "error" in server.join()
    now[0] = painting_server.PATIENCE_S + 1  # no client has polled since
    assert "painter" in server.join()
    assert server.result(first.name) == {"unknown": True}


def test_each_of_several_people_has_a_painter_model_of_their_own():
    loaded = []

    def load():
        model = SlowModel()
        model.card = replace(model.card, family="painter")
        loaded.append(model)
        return model

    server = PaintingServer(load)
    server.describe(10.0)
    clients = [Client(server) for _ in range(3)]
    assert len(loaded) == 3
    server.leave(clients[1].name)
    assert [model.closed for model in loaded] == [0, 1, 0]
    server.close()


def test_what_is_wrong_is_a_failure_of_one_line_and_painting_goes_on(served):
    model = SlowModel()
    client = Client(served(model))
    server, name = client.server, client.name
    assert "lossless, jpeg, webp" in server.join("rubbish")["error"]
    assert "quality" in server.join("jpeg", 0)["error"]
    server.submit(name, {"number": 1})
    assert "exactly these fields" in client.answer()["failure"]
    server.submit(name, None)
    assert "exactly these fields" in client.answer()["failure"]
    client.ask(painted(1), strength=7)
    assert client.answer()["failure"] == "strength must be a number from 0 to 1"
    client.number, client.planes = 0, BLANK
    model.failures.append(ModelError("the model is tired"))
    client.ask(painted(1))
    assert client.answer()["failure"] == "the model is tired"
    model.failures.append(RuntimeError("CUDA out of memory\nand much more"))
    client.ask(painted(2))
    assert client.answer()["failure"] == "RuntimeError: CUDA out of memory"
    client.ask(painted(3))
    assert "patch" in client.answer()


def test_a_paper_that_the_server_lacks_is_asked_for(served):
    client = Client(served(SlowModel()))
    client.ask(painted(1))
    client.answer()
    client.number += 5
    client.ask(painted(2))
    answer = client.answer()
    assert answer["resend"] and answer["number"] == client.number
    client.planes, client.number = BLANK, client.number
    request = Request(painted(3))
    sent = wire.sent_of(request, client.number + 1, 0, BLANK, wire.planes_of(request))
    client.server.submit(client.name, sent.as_dict())
    client.answer()
    assert np.array_equal(client.picture, SlowModel().render(request).picture)


def test_a_model_that_does_not_load_is_said():
    def load():
        raise ModelError("there are no weights")

    server = PaintingServer(load)
    assert server.describe(10.0) == {"card": None, "error": "there are no weights"}
    assert server.join() == {"error": "there are no weights"}
    server.close()
