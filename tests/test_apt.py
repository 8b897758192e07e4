"""Fetching the Debian package of a data set: what is said when it fails, and that nothing of the system is touched."""

from __future__ import annotations

import contextlib
import os
import pathlib
import pwd
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np
import pytest

from harness import apt
from harness.data import DATASETS
from harness.formats import decode
from harness.sources import SourceError

ROOT = pathlib.Path(__file__).resolve().parents[1]
FASHION = DATASETS["fashion-mnist"]


def fake_tool(folder: pathlib.Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_a_machine_without_apt_get_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError, match="apt-get is not on this machine"):
        apt.debian(FASHION, tmp_path)


def test_the_complaint_of_apt_get_is_passed_on(tmp_path, monkeypatch):
    fake_tool(tmp_path / "bin", "dpkg-deb", "exit 0")
    fake_tool(
        tmp_path / "bin",
        "apt-get",
        'if [ "$1" = update ]; then\n'
        'echo "W: Failed to fetch http://x  Could not resolve" >&2; echo "W: Some index files failed" >&2; exit 0; fi\n'
        'echo "E: Unable to locate package $2" >&2; exit 100',
    )
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(SourceError, match=r"Unable to locate package dataset-fashion-mnist \(Failed to fetch"):
        apt.debian(FASHION, tmp_path)


def test_an_apt_get_that_hangs_is_ended_in_time(tmp_path, monkeypatch):
    fake_tool(tmp_path / "bin", "dpkg-deb", "exit 0")
    fake_tool(tmp_path / "bin", "apt-get", "exec sleep 30")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(apt, "APT_SECONDS", 0.3)
    began = time.monotonic()
    with pytest.raises(SourceError, match="apt-get update took more than"):
        apt.debian(FASHION, tmp_path)
    assert time.monotonic() - began < 2


needs_apt = pytest.mark.skipif(
    not (shutil.which("apt-get") and shutil.which("dpkg-deb")),
    reason="apt-get or dpkg-deb is missing: fetching the Debian package is NOT tested on this machine",
)


@needs_apt
@pytest.mark.long
def test_the_debian_package_yields_the_official_images_and_leaves_the_system_alone(tmp_path, monkeypatch):
    # A space in the path, and a configuration of the user's own with a hook that must not run.
    space = tmp_path / "with space"
    space.mkdir()
    (tmp_path / "mine.conf").write_text(f'APT::Update::Post-Invoke {{ "touch {tmp_path}/hook-ran"; }};\n')
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "mine.conf"))
    lists = pathlib.Path("/var/lib/apt/lists")
    before = lists.stat().st_mtime_ns if lists.exists() else None
    decoded = decode(FASHION, apt.debian(FASHION, space))
    assert decoded.doubt is None
    assert decoded.X.shape == (70_000, 784)
    assert not (tmp_path / "hook-ran").exists()
    assert (lists.stat().st_mtime_ns if lists.exists() else None) == before


def python_for_anybody(environment: dict[str, str]) -> str | None:
    """An interpreter that the user nobody can run and that finds what the harness imports."""
    for python in (sys.executable, "/usr/bin/python3"):
        with contextlib.suppress(OSError):
            probe = [python, "-c", "import numpy, harness.data"]
            if subprocess.run(probe, user="nobody", env=environment, cwd="/", capture_output=True).returncode == 0:
                return python
    return None


@needs_apt
@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become the user nobody")
def test_the_debian_package_is_fetched_as_a_user_without_rights():
    libraries = str(pathlib.Path(np.__file__).parents[1])
    with tempfile.TemporaryDirectory(dir="/tmp") as home:
        os.chown(home, pwd.getpwnam("nobody").pw_uid, -1)
        environment = {"PATH": os.environ["PATH"], "HOME": home, "PYTHONDONTWRITEBYTECODE": "1"}
        environment["PYTHONPATH"] = f"{ROOT}{os.pathsep}{libraries}"
        python = python_for_anybody(environment)
        if python is None:
            pytest.skip("no Python with NumPy that the user nobody can run: fetching as another user is NOT tested")
        code = "import pathlib, sys; from harness.data import DATASETS; from harness import apt, formats; "
        code += "spec = DATASETS['fashion-mnist']; files = apt.debian(spec, pathlib.Path(sys.argv[1])); "
        code += "print(formats.decode(spec, files).doubt)"
        run = subprocess.run(
            [python, "-c", code, home],
            user="nobody",
            group=pwd.getpwnam("nobody").pw_gid,
            extra_groups=[],
            env=environment,
            cwd="/",
            capture_output=True,
            text=True,
        )
        assert (run.returncode, run.stdout, run.stderr) == (0, "None\n", "")
