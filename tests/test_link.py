"""The line to a scheduler, where there is none, and a clock that stands still while this process does."""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from clusters import compute_process, dask_cluster
from processes import ROOT, wait_until

from harness import ablate, link
from harness.errors import UserError
from harness.link import Link
from harness.places import PlaceLostError

STUDY = '[base]\nengine = "numpy"\nepochs = 1\n[variants]\na = {}\n'


@pytest.fixture
def ask(small_data, tmp_path, capsys):
    def ask(*arguments: str) -> tuple[int, str]:
        (tmp_path / "my.toml").write_text(STUDY)
        status = ablate.main([str(tmp_path / "my.toml"), "--out", str(tmp_path / "out"), *arguments])
        return status, capsys.readouterr().err

    return ask


def test_nobody_at_the_address_is_one_line(ask, monkeypatch):
    monkeypatch.setattr(link, "CONNECT_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
    status, err = ask("--scheduler", address)
    assert status == 2
    assert err.startswith(f"error: no Dask scheduler answers at {address} (--scheduler)")
    assert err.count("\n") == 1


@pytest.mark.parametrize("address", ["nonsense://10.0.0.1:5", "tcp://", "tcp://:::"])
def test_an_address_that_is_none_is_one_line(ask, monkeypatch, address):
    monkeypatch.setattr(link, "CONNECT_SECONDS", 1.0)
    status, err = ask("--scheduler", address)
    assert status == 2
    assert err.startswith(f"error: no Dask scheduler answers at {address} (--scheduler)")
    assert err.count("\n") == 1


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense://10.0.0.1:5", "tcp://", "tcp://:::"])
def test_a_client_that_did_not_connect_is_closed_at_once(monkeypatch, address):
    """If it is closed when the collector of garbage finds it, that may be while another one starts: a deadlock."""
    from distributed import Client

    monkeypatch.setattr(link, "CONNECT_SECONDS", 1.0)
    with pytest.raises(UserError, match="no Dask scheduler answers"):
        Link(address, lambda *_: None, lambda *_: None)
    clients = [each for each in gc.get_objects() if type(each) is Client]
    assert {each.status for each in clients} <= {"closed", "newly-created"}


@pytest.mark.parametrize("options", [("--backend", "dask"), ("--scheduler", "tcp://127.0.0.1:9")])
def test_without_dask_the_line_says_how_to_get_it(ask, monkeypatch, options):
    monkeypatch.setitem(sys.modules, "dask", None)
    status, err = ask(*options)
    assert status == 2
    assert "pip install 'ablation-bench[dask]'" in err


def test_without_the_option_dask_is_never_imported():
    code = "import sys; from harness import ablate, session, planner; print({'dask', 'distributed'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.long
def test_a_worker_that_is_retired_leaves_as_expected_and_one_that_is_killed_does_not(tmp_path):
    from distributed import Client

    joined, left = list[str](), dict[str, bool]()
    with dask_cluster(tmp_path / "dask") as dask:
        made = Link(dask.address, lambda worker, _: joined.append(worker), left.__setitem__)

        def turn_until(holds) -> None:
            wait_until(lambda: made.turn(0.1) or holds())

        try:
            dask.worker()
            turn_until(lambda: len(joined) == 1)
            with Client(dask.address, set_as_default=False) as client:
                client.retire_workers(joined)
            turn_until(lambda: left)
            worker = dask.worker()
            turn_until(lambda: len(joined) == 2)
            os.kill(compute_process(worker), signal.SIGKILL)
            turn_until(lambda: len(left) == 2)
        finally:
            made.close()
    assert list(left.values()) == [True, False]


class Silent:
    """A client whose scheduler says nothing."""

    status = "running"


def test_silence_counts_only_while_this_process_is_awake(monkeypatch):
    monkeypatch.setattr(link, "ANSWER_SECONDS", 5.0)
    made = Link.__new__(Link)
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    made.address, made.clock, made._heard, made._turned = "tcp://there", 0.0, 0.0, now
    made._client, made._inbox = Silent(), link.queue.SimpleQueue()
    now += 1000.0  # the machine slept
    made.turn(0.0)
    assert made.clock == link.MOST_TURN_SECONDS
    for _ in range(3):
        now += 1.0
        made.turn(0.0)
    now += 1.0
    with pytest.raises(PlaceLostError, match="the scheduler at tcp://there has not answered for 5 s"):
        made.turn(0.0)
