"""Setup says what to install where it cannot work, and never takes half for done."""

import os
import subprocess
from pathlib import Path

import pytest

SETUP = Path(__file__).parent.parent / "tools" / "setup.sh"


def setup(tmp_path, python: str):
    """Run setup.sh in a folder where the only Python is a shell script with the given answers."""
    bin = tmp_path / "bin"
    bin.mkdir(exist_ok=True)
    for name in ("python3", "python3.10", "python3.11", "python3.12", "python3.13"):
        (bin / name).write_text(f"#!/bin/sh\n{python}\n")
        (bin / name).chmod(0o755)
    (tmp_path / "requirements.txt").write_text("numpy\n")
    path = f"{bin}{os.pathsep}/usr/bin{os.pathsep}/bin"
    return subprocess.run(
        ["/bin/sh", SETUP, "venv", "requirements.txt"],
        cwd=tmp_path,
        env={"PATH": path, "TMPDIR": str(tmp_path / "tmp")},
        capture_output=True,
        text=True,
    )


# Answers to the script's three questions: new enough? able to make environments? which version?
OLD = 'case "$2" in *exit*) exit 1 ;; esac'
NO_VENV = 'case "$2" in *ensurepip*) exit 1 ;; *print*) echo 3.11 ;; esac'
# Makes an environment whose pip fails, as when the network goes away
BREAKS = """
case "$*" in
    *"-m venv"*) mkdir -p venv/bin; cp "$0" venv/bin/python ;;
    *"-m pip"*) exit 1 ;;
    *--version*) echo Python 3.11 ;;
esac
"""
WORKS = BREAKS.replace("exit 1", "echo pip >> calls")


@pytest.mark.parametrize(
    ("python", "install"),
    [
        (OLD, "Install Python 3.10 or newer"),
        (NO_VENV, "Install python3.11-venv (Debian, Ubuntu: apt"),
    ],
)
def test_the_first_line_says_what_to_install(tmp_path, python, install):
    done = setup(tmp_path, python)
    assert done.returncode == 1
    assert (done.stdout + done.stderr).startswith(install)
    assert not (tmp_path / "venv").exists()


def test_an_environment_is_made_once_and_again_when_the_requirements_change(tmp_path):
    calls = tmp_path / "calls"
    assert setup(tmp_path, WORKS).returncode == 0
    first = calls.read_text()
    assert first
    assert setup(tmp_path, WORKS).returncode == 0
    assert calls.read_text() == first  # reused
    (tmp_path / "venv" / ".ready").write_text("numpy==1\n")
    assert setup(tmp_path, WORKS).returncode == 0
    assert calls.read_text() == first * 2


def test_half_an_environment_is_not_taken_for_done(tmp_path):
    assert setup(tmp_path, BREAKS).returncode != 0
    assert (tmp_path / "venv").exists() and not (tmp_path / "venv" / ".ready").exists()
    assert setup(tmp_path, WORKS).returncode == 0
    assert (tmp_path / "calls").exists()
