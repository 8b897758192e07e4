"""What tests of clusters share: a scheduler and workers as a user starts them, on this machine only, and their end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from processes import ROOT, children, wait_until

from harness import cache as data_cache


class DaskCluster:
    """A scheduler, and workers that are started one by one; each has a cache of its own if it asks for it."""

    def __init__(self, folder: Path, host: str, more: Sequence[str]) -> None:
        self.folder = folder
        self._log = open(folder / "log", "w")  # noqa: SIM115
        self._kernels = data_cache.cache_folder() / "kernels"
        self.processes: list[subprocess.Popen[bytes]] = []
        file = folder / "scheduler.json"
        options = ("--host", host, "--port", "0", "--no-dashboard", "--scheduler-file", str(file), *more)
        self.scheduler = self._start(["scheduler", *options], (), {})
        wait_until(lambda: file.exists() and file.read_text().strip().endswith("}"))
        self.address: str = json.loads(file.read_text())["address"]

    def worker(
        self, cache: str = "shared", *options: str, prefix: Sequence[str] = (),
        environment: dict[str, str] | None = None, warm: bool = True,
    ) -> subprocess.Popen[bytes]:  # fmt: skip
        """Start a worker; those with the same cache are as if on one machine."""
        own = self.folder / cache
        own.mkdir(exist_ok=True)
        if warm and not (own / "kernels").exists():  # compiling is no part of these tests
            (own / "kernels").symlink_to(self._kernels)
        variables = {data_cache.CACHE_VARIABLE: str(own), "ABLATION_BENCH_DATA": "", **(environment or {})}
        place = ("--local-directory", str(self.folder / "space"), "--no-dashboard", "--death-timeout", "60")
        return self._start(["worker", self.address, "--nthreads", "1", *place, *options], prefix, variables)

    def _start(
        self, arguments: Sequence[str], prefix: Sequence[str], variables: dict[str, str]
    ) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
        command = [*prefix, sys.executable, "-m", "dask", *arguments]
        process = subprocess.Popen(
            command, stdout=self._log, stderr=self._log, env=environment, cwd=self.folder, start_new_session=True
        )
        self.processes.append(process)
        return process

    def close(self) -> None:
        """End all of it, by their numbers."""
        family = {pid for process in self.processes for pid in {process.pid, *children(process.pid)}}
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self.processes:
            process.wait()
        self._log.close()

    def words(self) -> str:
        """What they have said."""
        return (self.folder / "log").read_text()


@contextmanager
def dask_cluster(folder: Path, host: str = "127.0.0.1", options: Sequence[str] = ()) -> Iterator[DaskCluster]:
    """A scheduler without workers, which ends with the block, and they with it."""
    folder.mkdir(exist_ok=True)
    cluster = DaskCluster(folder, host, options)
    try:
        yield cluster
    finally:
        cluster.close()


@contextmanager
def network_namespaces(n: int) -> Iterator[list[tuple[list[str], str]]]:
    """Hosts of their own, as far as the network goes: how to start a process there, and our address as seen from there.

    Each is tied to this machine by a pair of virtual devices, and to no other.

    Raises
    ------
    OSError
        Where this machine does not allow it.
    """
    made, hosts = list[str](), list[tuple[list[str], str]]()

    def ip(*words: str) -> None:
        done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")

    try:
        for i in range(n):
            name, net = f"ab{os.getpid()}-{i}", f"10.213.{os.getpid() % 250}.{8 * i}"
            here, there = (f"{net.rpartition('.')[0]}.{8 * i + k}" for k in (1, 2))
            ip("netns", "add", name)
            made.append(name)
            ip("link", "add", f"{name}h", "type", "veth", "peer", "name", f"{name}n", "netns", name)
            ip("addr", "add", f"{here}/29", "dev", f"{name}h")
            ip("link", "set", f"{name}h", "up")
            inside = ("netns", "exec", name, "ip")
            ip(*inside, "addr", "add", f"{there}/29", "dev", f"{name}n")
            ip(*inside, "link", "set", f"{name}n", "up")
            ip(*inside, "link", "set", "lo", "up")
            ip(*inside, "route", "add", "default", "via", here)
            hosts.append((["ip", "netns", "exec", name], here))
        yield hosts
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)  # its devices go with it


def compute_process(worker: subprocess.Popen[bytes]) -> int:
    """The process of a worker that computes: its nanny's child."""
    found: list[int] = []

    def look() -> bool:
        for pid in children(worker.pid):
            with suppress(OSError):
                if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
        return bool(found)

    wait_until(look)
    return found[0]
