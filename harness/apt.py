"""Fetch the Debian package of a data set with ``apt-get`` and unpack it, as any user, touching nothing of the system.

Which sources come before is left to ``harness.data``, what the files are worth to ``harness.formats``. The waiting is
bounded.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.formats import DatasetSpec, locate
from harness.sources import SourceError

APT_SECONDS = 300.0  # lists and package together


def debian(spec: DatasetSpec, folder: Path) -> tuple[Path, ...]:
    """Fetch the data set's Debian package with ``apt-get`` and unpack it, as any user, touching nothing of the system.

    The system's own sources, keys and proxies are used, with private lists and cache below `folder`. The hooks that a
    system may run after an update are switched off: they would act on the system.

    Parameters
    ----------
    spec : DatasetSpec
        Names the package and the folders that it installs to.
    folder : Path
        Where to work and to unpack.

    Raises
    ------
    SourceError
        With the first error line of ``apt-get``.
    """
    missing = [tool for tool in ("apt-get", "dpkg-deb") if not shutil.which(tool)]
    if missing:
        raise SourceError(f"{missing[0]} is not on this machine")
    home = folder / "apt"
    for part in ("lists/partial", "cache/archives/partial", "unpacked"):
        (home / part).mkdir(parents=True, exist_ok=True)
    # apt reads APT_CONFIG first, the system's configuration next and the file called Dir::Etc::main last: only there
    # can what the system added to a list be cleared. "root" means: as whoever runs this, not as the user _apt.
    usual = [path for path in (os.environ.get("APT_CONFIG"), "/etc/apt/apt.conf") if path and os.path.isfile(path)]
    (home / "first.conf").write_text(f'Dir::Etc::main "{home}/last.conf";\n')
    (home / "last.conf").write_text(
        "".join(f'#include "{path}";\n' for path in usual)
        + "".join(f"#clear APT::Update::{hook};\n" for hook in ("Pre-Invoke", "Post-Invoke", "Post-Invoke-Success"))
        + f'Dir::State::Lists "{home}/lists";\nDir::Cache "{home}/cache";\n'
        + 'APT::Sandbox::User "root";\nAcquire::Languages "none";\nAcquire::Retries "0";\n'
        + 'Acquire::http::Timeout "10";\nAcquire::https::Timeout "10";\n'
    )
    package = str(spec.debian_package)
    deadline = time.monotonic() + APT_SECONDS
    with _status(f"fetching the Debian package {package}"):
        update = _apt(home, deadline, "apt-get", "update")
        fetched = _apt(home, deadline, "apt-get", "download", package)
        packages = sorted(home.glob(f"{package}_*.deb"))
        if not packages:
            raise SourceError(_complaint(fetched) + (f" ({_complaint(update)})" if _complaint(update) else ""))
        unpacked = _apt(home, deadline, "dpkg-deb", "-x", str(packages[0]), str(home / "unpacked"))
    for place in spec.system_folders:
        files = locate(spec, home / "unpacked" / place.lstrip("/"))
        if files:
            return files
    raise SourceError(_complaint(unpacked) or f"the package {package} does not hold the files")


def _apt(home: Path, deadline: float, *command: str) -> str:
    """Run a command of the package manager in the private folder, and return its complaints."""
    environment = {**os.environ, "APT_CONFIG": str(home / "first.conf"), "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command,
            cwd=home,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=max(0.1, deadline - time.monotonic()),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise SourceError(f"{' '.join(command[:2])} took more than {APT_SECONDS:.0f} s in all") from error
    except OSError as error:
        raise SourceError(f"{command[0]} cannot be run ({error.strerror})") from error
    return done.stderr.decode(errors="replace")


def _complaint(stderr: str) -> str:
    """Pick the first error line that apt printed, or else its first warning."""
    for letter in "EW":
        lines = [line[3:] for line in stderr.splitlines() if line.startswith(f"{letter}: ")]
        if lines:
            return lines[0].strip()
    return stderr.strip()


@contextmanager
def _status(text: str) -> Iterator[None]:
    """Show that something goes on, on stderr where that is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield
