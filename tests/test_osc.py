"""OSC over a real UDP socket: address table, message parsing, invalid messages and floods."""

from __future__ import annotations

import socket
import time

import pytest

pytest.importorskip("pythonosc")
from pythonosc.udp_client import SimpleUDPClient

from models.api import MOOD_AXES
from renderer.actions import Change, InputError
from renderer.control import osc
from renderer.control.addresses import DIALOGS, addresses
from renderer.control.osc import OscServer, parse_osc
from renderer.ui.input.keymap import KEYS

TABLE = addresses((key.name, key.help) for key in KEYS)


@pytest.fixture
def server():
    one = OscServer("127.0.0.1", 0 or free_port(), TABLE)
    yield one
    one.close()


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def client(server):
    return SimpleUDPClient(*server.address)


def arrived(server: OscServer, count: int) -> None:
    end_s = time.perf_counter() + 5
    while server.received < count:
        assert time.perf_counter() < end_s, "no message came"
        time.sleep(0.005)


def test_every_row_of_the_key_table_has_an_address_but_those_that_want_a_person():
    for key in KEYS:
        path = f"/flowbrush/{key.name.replace('.', '/')}"
        if key.name in DIALOGS and key.name != "prompt":
            assert path not in TABLE
        else:
            assert path in TABLE
    assert {f"/flowbrush/mood/{axis.name}" for axis in MOOD_AXES} <= set(TABLE)


def test_messages_become_changes_and_rows(server, client):
    client.send_message("/flowbrush/prompt", "a misty lake")
    client.send_message("/flowbrush/strength", 0.4)
    client.send_message("/flowbrush/mood/sun", 0.25)
    client.send_message("/flowbrush/record", [])
    client.send_message("/flowbrush/view", 1)
    client.send_message("/flowbrush/view", 0)  # button released
    arrived(server, 6)
    wishes = [received.wish for received in server.take()]
    assert wishes[0] == Change("prompt", "a misty lake")
    assert wishes[1].name == "strength" and wishes[1].value == pytest.approx(0.4)
    assert wishes[2].name == "mood.sun"
    assert wishes[3:] == ["record", "view"]
    assert server.take() == []


def test_of_many_values_for_one_setting_the_newest_counts(server, client):
    for value in range(20):
        client.send_message("/flowbrush/seed", value)
    arrived(server, 20)
    assert [received.wish for received in server.take()] == [Change("seed", 19)]


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("/flowbrush/nothing", 1, "no OSC address"),
        ("/flowbrush/strength", "much", "wants a number"),
        ("/flowbrush/strength", float("nan"), "wants a number"),
        ("/flowbrush/strength", [], "wants a number"),
        ("/flowbrush/prompt", [], "wants a word"),
        ("/flowbrush/quit", 1, "no OSC address"),
    ],
)
def test_a_bad_message_is_told_in_one_line_and_does_nothing(server, client, path, value, words):
    client.send_message(path, value)
    arrived(server, 1)
    end_s = time.perf_counter() + 2
    while not server.news and time.perf_counter() < end_s:
        time.sleep(0.005)
    (line,) = server.news
    assert words in line and "\n" not in line
    assert server.take() == [] and server.refused == 1


def test_bytes_that_are_no_osc_end_nothing(server, client, capfd):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as raw:
        for data in (
            b"",
            b"\x00",
            b"hello",
            b"/flowbrush/strength\x00",
            b"#bundle\x00" + b"\xff" * 20,
            b"/a" * 900,
        ):
            raw.sendto(data, server.address)
    client.send_message("/flowbrush/seed", 3)
    arrived(server, 1)
    end_s = time.perf_counter() + 2
    wishes: list = []
    while Change("seed", 3) not in wishes and time.perf_counter() < end_s:
        wishes += [received.wish for received in server.take()]
    assert Change("seed", 3) in wishes
    assert "Traceback" not in capfd.readouterr().err


def test_more_than_the_loop_can_take_is_dropped_and_counted(server, client, monkeypatch):
    monkeypatch.setattr(osc, "MOST_WAITING", 10)
    for _ in range(30):
        client.send_message("/flowbrush/view", 1)
    arrived(server, 30)
    time.sleep(0.05)
    assert len(server.take()) == 10 and server.dropped == 20


@pytest.mark.parametrize(
    ("text", "address"), [("9000", ("127.0.0.1", 9000)), ("0.0.0.0:9001", ("0.0.0.0", 9001))]
)
def test_the_loopback_is_meant_unless_told(text, address):
    assert parse_osc(text) == address


@pytest.mark.parametrize("text", ["", "nine", "70000", "host:", ":0"])
def test_a_bad_port_is_one_line(text):
    with pytest.raises(InputError, match="PORT or HOST:PORT"):
        parse_osc(text)


def test_a_port_that_is_taken_is_one_line(server):
    with pytest.raises(InputError, match="choose another port") as refused:
        OscServer(*server.address, TABLE)
    assert "\n" not in str(refused.value)
