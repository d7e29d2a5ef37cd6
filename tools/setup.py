r"""Make the virtual environment of this checkout and fill it with exactly what is pinned.

    python3 tools/setup.py                        .venv: to run and to test the notebooks
    python3 tools/setup.py lab                    .venv-lab: JupyterLab
    python3 tools/setup.py --python python3.12    with this Python, not with the newest

On Windows: py tools\setup.py. Any Python from 3.6 on can start this file; it looks for the newest
that fits and makes the environment with it. What is there already is kept. An interrupted or failed
set-up leaves nothing behind, and two at once do the work once.
"""

import argparse
import contextlib
import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST, NEWEST = (3, 10), (3, 14)  # the Pythons that the requirements were resolved and tested for
MINORS = range(NEWEST[1], OLDEST[1] - 1, -1)
ENVIRONMENTS = {"test": ".venv", "lab": ".venv-lab"}  # filled from requirements/NAME.txt
EDITABLE = (".", "blog")  # our own packages, which stay where they are
GIGABYTES = 1.5  # free disk that a set-up needs: what it leaves, about 1 GB, and what it unpacks

ANSWERS = (
    "import importlib.util as u, json, sys; print(json.dumps([list(sys.version_info[:2]), "
    "bool(u.find_spec('venv') and u.find_spec('ensurepip')), "
    "getattr(sys, '_base_executable', None) or sys.executable]))"
)


class Refusal(Exception):
    """Why there is no environment, in one sentence for the reader."""


# -- which Python --------------------------------------------------------------------------------


def ask(command):
    """[version, whether it can make environments, its executable], or None if it is no Python.

    The executable is the one outside of any virtual environment: ours may be about to be removed.
    """
    try:
        done = subprocess.run(
            [*command, "-c", ANSWERS],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(),
        )
        version, able, executable = json.loads(done.stdout.decode())
    except (OSError, ValueError):
        return None
    return tuple(version), able, executable


def find(asked=None):
    """The newest Python that fits, or the one that was asked for: its executable and version."""
    if asked:
        commands = [[asked]]
    else:
        commands = [[f"python3.{minor}"] for minor in MINORS] + [["python3"], ["python"]]
        if os.name == "nt":
            commands = [["py", f"-3.{minor}"] for minor in MINORS] + commands
        commands += [[sys.executable]]
    found = [answer for answer in map(ask, commands) if answer]
    new_enough = [answer for answer in found if answer[0] >= OLDEST]
    able = [answer for answer in new_enough if answer[1]]
    if able:
        version, _, executable = max(able, key=lambda answer: (answer[0] <= NEWEST, answer[0]))
        return executable, version
    if new_enough:
        name = "python" + dotted(new_enough[0][0])
        raise Refusal(f"Install {name}-venv (Debian, Ubuntu: apt install {name}-venv)")
    if asked:
        got = f"{asked} is Python {dotted(found[0][0])}" if found else f"{asked} does not run"
    else:
        got = "found " + (", ".join(sorted({dotted(answer[0]) for answer in found})) or "none")
    raise Refusal(
        f"Install Python {dotted(OLDEST)} or newer (Debian, Ubuntu: apt install python3 "
        f"python3-venv; macOS, Windows: python.org), up to {dotted(NEWEST)} is tested; {got}"
    )


def dotted(version):
    return "{}.{}".format(*version)


def environment(temporary=None):
    """The reader's variables without those that would put packages or modules elsewhere."""
    variables = dict(os.environ, PYTHONNOUSERSITE="1", PIP_USER="0")
    for name in ("PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT"):
        variables.pop(name, None)
    if temporary:
        variables.update(dict.fromkeys(("TMPDIR", "TEMP", "TMP"), temporary))
    return variables


# -- making it -----------------------------------------------------------------------------------


def call(command, temporary):
    """Run a command to its end; whatever stops us stops it too, with all that it has started."""
    own_group = {"start_new_session": True} if os.name == "posix" else {}
    child = subprocess.Popen(
        command, env=environment(temporary), stdin=subprocess.DEVNULL, **own_group
    )
    try:
        return child.wait() == 0
    except BaseException:
        if own_group:
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()
        child.wait()
        raise


def fill(venv, requirements, executable, temporary):
    """Make the environment; a Refusal if any step of it fails."""
    if not call([executable, "-m", "venv", str(venv)], temporary):
        raise Refusal(f"{executable} could not make {venv.name}; its message is above")
    python = str(venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    pip = [python, "-m", "pip", "install", "--quiet", "--quiet", "--no-input"]
    pip += ["--disable-pip-version-check"]
    pip += [] if os.environ.get("PIP_CACHE_DIR") else ["--no-cache-dir"]  # none outside, unasked
    editable = [part for path in EDITABLE for part in ("-e", str(ROOT / path))]
    if not (
        call([*pip, "--require-hashes", "-r", str(requirements)], temporary)
        and call([*pip, "--no-build-isolation", "--no-deps", *editable], temporary)
    ):
        raise Refusal(
            "pip could not install what is pinned; its message is above. Behind a proxy set "
            "HTTPS_PROXY, with an index of your own PIP_INDEX_URL"
        )
    if not call([python, "-c", "import nflib_min, numpy"], temporary):
        raise Refusal("pip put the packages elsewhere; `pip config list` shows what told it to")


def remove(path):
    """Remove an environment, also where it is a link or a file."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(str(path))


def fingerprint(root, requirements):
    """What an environment was made from; another requirement, recipe or folder gives another."""
    parts = (requirements.read_bytes(), Path(__file__).read_bytes(), str(root).encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest() + "\n"


def is_ready(ready, wanted):
    """Was the environment finished, from the same parts, and is its Python still there?"""
    if not ready.is_file() or ready.read_text(encoding="utf-8") != wanted:
        return False
    python = ready.parent / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    return ask([str(python)]) is not None


@contextlib.contextmanager
def alone(path):
    """Hold a lock that ends with this process, however it ends; wait while another holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        told = False
        while not locked(file):
            if not told:
                print("Another set-up of this checkout is running: waiting for it ...", flush=True)
                told = True
            time.sleep(0.2)
        yield


def locked(file):
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            return False
        raise
    return True


def set_up(root, name, asked=None):
    """Make the environment NAME of the checkout at `root`, unless it is there already."""
    venv, requirements = root / ENVIRONMENTS[name], root / "requirements" / f"{name}.txt"
    ready, wanted = venv / ".ready", fingerprint(root, requirements)
    if not is_ready(ready, wanted):
        with alone(root / "build" / "setup.lock"):
            if not is_ready(ready, wanted):  # the other set-up may have made it
                make(venv, requirements, asked)
                ready.write_text(wanted, encoding="utf-8")
    os.utime(str(ready))  # for make, which compares dates


def make(venv, requirements, asked):
    executable, version = find(asked)
    free = shutil.disk_usage(str(requirements.parent)).free / 1e9
    if free < GIGABYTES:
        raise Refusal(
            f"{venv.name} needs {GIGABYTES} GB of free disk while it is made, and there are "
            f"{free:.1f} GB"
        )
    print(
        f"Setting up {venv.name} with Python {dotted(version)} from requirements/"
        f"{requirements.name}: once, a minute or a few, 1 GB of disk ...",
        flush=True,
    )
    if version > NEWEST:
        print(f"Tested is Python up to {dotted(NEWEST)}; a newer one may lack packages.")
    temporary = requirements.parent.parent / "build" / "setup"
    try:
        remove(venv)
        remove(temporary)
        temporary.mkdir()
        fill(venv, requirements, executable, str(temporary))
    except BaseException:
        remove(venv)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def main(arguments=None, root=ROOT):
    parser = argparse.ArgumentParser(
        prog="python3 tools/setup.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="?", choices=sorted(ENVIRONMENTS), default="test")
    parser.add_argument("--python", metavar="PYTHON", help="such as python3.12 (the newest)")
    given = parser.parse_args(arguments)
    for name in ("SIGTERM", "SIGHUP"):  # a closed terminal is like Ctrl-C
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)
    try:
        set_up(root, given.name, given.python)
    except KeyboardInterrupt:
        print("\nInterrupted: nothing is left behind; the next call starts afresh.")
        return 130
    except (Refusal, OSError) as problem:
        print(f"{problem}. Then run it again.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
