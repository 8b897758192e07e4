"""A Dask cluster on this machine, in a process of its own: ``python -m harness.localcluster WORKERS``.

That process says its address on standard output and ends when its standard input does: with the command that started
it, however that one ends, and its workers with it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from harness import signals
from harness.errors import UserError
from harness.link import quiet

START_SECONDS = 60.0
ROOT = str(Path(__file__).resolve().parent.parent)


class LocalCluster:
    """A scheduler and workers on this machine.

    Parameters
    ----------
    workers : int
        How many.

    Attributes
    ----------
    address : str
        Of the scheduler.

    Raises
    ------
    UserError
        When it does not come up.
    """

    def __init__(self, workers: int) -> None:
        quiet()
        command = [sys.executable, "-m", "harness.localcluster", str(workers)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (ROOT, os.environ.get("PYTHONPATH"))))}
        with tempfile.TemporaryFile("w+") as words:
            with signals.deferred():
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=words,
                    env=environment,
                    encoding="utf-8",
                    start_new_session=True,  # Ctrl-C is not for it
                )
            assert self._process.stdout is not None
            try:
                self.address = self._process.stdout.readline().strip()  # it ends by itself where it takes too long
            except BaseException:
                self.end()
                raise
            words.seek(0)
            last = words.read().strip().rpartition("\n")[2]
        if not self.address:
            self.end()
            raise UserError(f"no Dask cluster could be started on this machine: {last or 'it took too long'}")

    def end(self) -> None:
        """End it at once."""
        self._process.kill()  # its workers see that it is gone and end, too
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


def main() -> None:
    """Run a cluster until standard input ends."""
    quiet()
    import distributed

    late = threading.Timer(START_SECONDS, os._exit, (1,))
    late.daemon = True
    late.start()
    cluster = distributed.LocalCluster(
        n_workers=int(sys.argv[1]),
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=None,
        memory_limit=0,  # how many runs fit is the planner's business
    )
    late.cancel()
    print(cluster.scheduler_address, flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
