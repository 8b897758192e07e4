"""News between processes: complete and in order while somebody listens, harmless when nobody does."""

from __future__ import annotations

import math
import socket
import threading

from processes import wait_until

from harness.events import Address, Listener, Sender


def collect(listener: Listener, n: int) -> list:
    events: list = []
    wait_until(lambda: events.extend(listener.drain()) or len(events) >= n)
    return events


def test_events_arrive_in_the_order_of_their_sender():
    listener = Listener()
    senders = [Sender(listener.address) for _ in range(3)]
    for i in range(50):
        for number, sender in enumerate(senders):
            sender.send({"sender": number, "i": i, "text": "ä\n\u2028"})
    events = collect(listener, 150)
    listener.close()
    assert len(events) == 150
    for number in range(3):
        assert [event["i"] for event in events if event["sender"] == number] == list(range(50))
    assert all(event["text"] == "ä\n\u2028" for event in events)
    assert listener.drain() == []
    for sender in senders:
        sender.close()


def test_numbers_that_json_does_not_have_arrive_as_none():
    listener = Listener()
    sender = Sender(listener.address)
    sender.send({"a": math.nan, "b": {"c": -math.inf, "d": 0.1}})
    assert collect(listener, 1) == [{"a": None, "b": {"c": None, "d": 0.1}}]
    sender.close()
    listener.close()


def test_who_does_not_know_the_word_is_not_heard():
    listener = Listener()
    assert listener.address is not None
    with socket.create_connection(("127.0.0.1", listener.address.port)) as stranger:
        stranger.sendall(b'guess\n{"kind": "lie"}\n')
        assert stranger.recv(1) == b""  # hung up on
    sender = Sender(listener.address)
    sender.send({"kind": "truth"})
    assert collect(listener, 1) == [{"kind": "truth"}]
    sender.close()
    listener.close()


def test_the_word_stays_out_of_messages():
    assert "secret" not in repr(Address(1, "secret"))


def test_a_sender_that_dies_in_mid_line_takes_nothing_down():
    listener = Listener()
    assert listener.address is not None
    with socket.create_connection(("127.0.0.1", listener.address.port)) as torn:
        torn.sendall(f'{listener.address.token}\n{{"kind": "whole"}}\n{{"kind": "ha'.encode())
        assert collect(listener, 1) == [{"kind": "whole"}]
    sender = Sender(listener.address)
    sender.send({"kind": "next"})
    assert collect(listener, 1) == [{"kind": "next"}]
    sender.close()
    listener.close()


def test_sending_to_nobody_does_nothing():
    for address in (None, Address(1, "x")):
        sender = Sender(address)
        sender.send({"kind": "epoch"})
        sender.close()


def test_a_sender_stays_silent_when_its_listener_has_gone():
    listener = Listener()
    assert listener.address is not None
    server = socket.create_server(("127.0.0.1", 0))
    sender = Sender(Address(server.getsockname()[1], "x"))
    server.accept()[0].close()
    server.close()
    for _ in range(100):
        sender.send({"kind": "epoch", "padding": "x" * 10_000})
    listener.close()


def test_a_closed_listener_leaves_no_thread_and_no_open_port():
    before = threading.active_count()
    listener = Listener()
    assert listener.address is not None
    listener.close()
    wait_until(lambda: threading.active_count() <= before)
    sender = Sender(listener.address)
    sender.send({"kind": "epoch"})
    assert listener.drain() == []


def test_a_machine_without_a_loopback_network_has_no_news(monkeypatch):
    def refuse(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(socket, "create_server", refuse)
    listener = Listener()
    assert listener.address is None
    assert listener.drain() == []
    listener.close()


def test_a_question_is_answered_and_is_news_too():
    listener = Listener(lambda event: event["epoch"] == 2)
    sender = Sender(listener.address)
    assert [sender.ask({"kind": "epoch", "epoch": epoch}) for epoch in (1, 2, 3)] == [False, True, False]
    sender.send({"kind": "epoch", "epoch": 2})
    assert [event["epoch"] for event in collect(listener, 4)] == [1, 2, 3, 2]
    sender.close()
    listener.close()


def test_nobody_says_yes_where_nobody_listens_or_the_listener_knows_no_answer():
    assert not Sender(None).ask({"kind": "epoch"})
    listener = Listener()
    sender = Sender(listener.address)
    assert not sender.ask({"kind": "epoch"})
    sender.close()
    listener.close()


def test_a_question_to_a_listener_that_goes_away_is_answered_no():
    server = socket.create_server(("127.0.0.1", 0))
    sender = Sender(Address(server.getsockname()[1], "x"))
    connection = server.accept()[0]
    thread = threading.Thread(target=lambda: (connection.recv(10_000), connection.close()))
    thread.start()
    assert not sender.ask({"kind": "epoch"})
    assert not sender.ask({"kind": "epoch"})
    thread.join()
    server.close()
