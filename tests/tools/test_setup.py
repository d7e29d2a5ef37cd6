"""Set-up says what to install where it cannot work, works once, and leaves nothing half-made."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest

from tools import setup

# A Python that makes an environment with itself in it, and notes each call of pip in `calls`.
# `make` and `pip` stand for what it does beside that.
PYTHON = """\
#!/bin/sh
case "$*" in
    *"-m venv"*) {make}; mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
    *"-m pip"*) env >> variables; echo pip >> calls; {pip} ;;
    *json.dumps*) echo '[[3, 12], true, "'"$0"'"]' ;;
esac
"""


@pytest.fixture
def checkout(tmp_path):
    """A checkout with nothing in it but the set-up and two requirements."""
    (tmp_path / "tools").mkdir()
    shutil.copy(setup.__file__, tmp_path / "tools")
    (tmp_path / "requirements").mkdir()
    for name in setup.ENVIRONMENTS:
        (tmp_path / "requirements" / f"{name}.txt").write_text("numpy\n", encoding="utf-8")
    return tmp_path


def start(checkout, name="test", make=":", pip=":", **variables):
    python = checkout / "python"
    python.write_text(PYTHON.format(make=make, pip=pip), encoding="utf-8")
    python.chmod(0o755)
    return subprocess.Popen(
        [sys.executable, checkout / "tools" / "setup.py", name, "--python", str(python)],
        cwd=checkout,
        env=os.environ | variables,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # background jobs ignore it
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(checkout, **how):
    child = start(checkout, **how)
    out, error = child.communicate()
    return child.returncode, out, error


def calls(checkout):
    return (checkout / "calls").read_text(encoding="utf-8").count("pip")


def test_an_environment_is_made_once_and_again_when_something_it_was_made_from_changes(checkout):
    assert run(checkout)[0] == 0
    assert calls(checkout) == 2  # what is pinned, and this project
    code, out, _ = run(checkout)
    assert (code, out, calls(checkout)) == (0, "", 2)
    (checkout / "requirements" / "test.txt").write_text("numpy==1\n", encoding="utf-8")
    assert run(checkout)[0] == 0 and calls(checkout) == 4
    (checkout / ".venv" / "bin" / "python").unlink()  # the system's Python was taken away
    assert run(checkout)[0] == 0 and calls(checkout) == 6
    moved = checkout.rename(checkout.with_name("moved"))  # an environment holds its folder's name
    assert run(moved)[0] == 0 and calls(moved) == 8


def test_the_environments_are_apart(checkout):
    assert run(checkout, name="lab")[0] == 0
    assert (checkout / ".venv-lab" / ".ready").exists() and not (checkout / ".venv").exists()


def test_two_first_set_ups_at_once_do_the_work_once(checkout):
    children = [start(checkout, make="sleep 0.5") for _ in range(2)]
    outs = [child.communicate()[0] for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert calls(checkout) == 2
    assert sum("waiting for it" in out for out in outs) == 1


def test_a_failed_set_up_says_why_and_leaves_nothing(checkout):
    code, _, error = run(checkout, pip="exit 1")
    assert code == 1 and "pip could not install" in error and "PIP_INDEX_URL" in error
    assert not (checkout / ".venv").exists() and not list((checkout / "build").glob("setup/*"))
    assert run(checkout)[0] == 0


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_set_up_leaves_nothing_and_nobody(checkout, sent):
    child = start(checkout, pip="sleep 60 & echo $! > sleeping; wait")
    while not (checkout / "sleeping").exists() or not (checkout / "sleeping").read_text("utf-8"):
        time.sleep(0.01)
    child.send_signal(sent)
    out, error = child.communicate()
    assert child.returncode == 130 and "Interrupted" in out and error == ""
    assert not (checkout / ".venv").exists()
    with pytest.raises(ProcessLookupError):  # nor does what pip had started go on
        while True:
            os.kill(int((checkout / "sleeping").read_text("utf-8")), 0)
            time.sleep(0.01)


def test_half_an_environment_is_not_taken_for_done(checkout):
    """As SIGKILL or a power cut leaves it."""
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / "build" / "setup").mkdir(parents=True)
    (checkout / "build" / "setup" / "pip-unpack").touch()
    assert run(checkout)[0] == 0
    assert calls(checkout) == 2 and not (checkout / "build" / "setup").exists()


def test_a_link_in_the_place_of_the_environment_is_removed_not_what_it_points_to(checkout):
    (checkout / "precious").mkdir()
    (checkout / ".venv").symlink_to(checkout / "precious")
    assert run(checkout)[0] == 0
    assert not (checkout / ".venv").is_symlink() and not list((checkout / "precious").iterdir())


def test_variables_that_would_put_packages_elsewhere_do_not_reach_pip(checkout):
    foreign = {"PIP_TARGET": "t", "PIP_PREFIX": "p", "PYTHONPATH": "y", "PIP_USER": "1"}
    assert run(checkout, **foreign)[0] == 0
    seen = (checkout / "variables").read_text("utf-8").splitlines()
    assert "PIP_USER=0" in seen and "PYTHONNOUSERSITE=1" in seen
    assert not [
        line for line in seen if line.startswith(("PIP_TARGET", "PIP_PREFIX", "PYTHONPATH"))
    ]
    assert f"TMPDIR={checkout / 'build' / 'setup'}" in seen


@pytest.mark.slow
def test_a_pip_that_is_told_to_install_for_the_user_obeys_the_variable(tmp_path):
    """PIP_USER=0 outweighs `user = true` in a pip.conf; pip's own order of precedence."""
    conf = tmp_path / "pip.conf"
    conf.write_text("[install]\nuser = true\n", encoding="utf-8")
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "--quiet", "pip"],
        env=setup.environment() | {"PIP_CONFIG_FILE": str(conf)},
        capture_output=True,
        text=True,
    )
    assert listed.returncode == 0, listed.stderr


# -- which Python --------------------------------------------------------------------------------


def there(monkeypatch, **answers):
    """Let the machine have just these Pythons: name -> (version, can it make environments)."""
    known = {name.replace("_", "."): answer for name, answer in answers.items()}

    def ask(command):
        version, able = known.get(Path(command[0]).name, (None, None))
        return version and (version, able, f"/bin/{command[0]}")

    monkeypatch.setattr(setup, "ask", ask)
    monkeypatch.setattr(setup.sys, "executable", "/bin/itself")


def test_the_newest_python_that_is_tested_is_used(monkeypatch):
    old = {"python3": ((3, 9), True), "itself": ((3, 9), True)}  # as macOS has it
    there(monkeypatch, **old, python3_11=((3, 11), True), python3_14=((3, 14), True))
    assert setup.find() == ("/bin/python3.14", (3, 14))
    assert setup.find("python3.11") == ("/bin/python3.11", (3, 11))
    there(monkeypatch, python3=((3, 15), True), python3_12=((3, 12), True))
    assert setup.find() == ("/bin/python3.12", (3, 12))
    there(monkeypatch, python3=((3, 15), True))
    assert setup.find() == ("/bin/python3", (3, 15))


def test_a_python_that_cannot_make_environments_is_passed_over(monkeypatch):
    there(monkeypatch, python3_13=((3, 13), False), python3=((3, 11), True))
    assert setup.find() == ("/bin/python3", (3, 11))


@pytest.mark.parametrize(
    ("answers", "asked", "says"),
    [
        ({}, None, "Install Python 3.10 or newer .*found none"),
        ({"python3": ((3, 9), True)}, None, "Install Python 3.10 or newer .*found 3.9"),
        ({"python3": ((3, 11), False)}, None, "Install python3.11-venv .Debian"),
        ({"python3": ((3, 11), True)}, "python3.8", "Install Python .*python3.8 does not run"),
        ({"python2": ((2, 7), True)}, "python2", "Install Python .*python2 is Python 2.7"),
    ],
)
def test_it_says_what_to_install(monkeypatch, answers, asked, says):
    there(monkeypatch, **answers)
    with pytest.raises(setup.Refusal, match=says):
        setup.find(asked)


def test_a_real_python_answers_and_nothing_else_does(tmp_path):
    version, able, executable = setup.ask([sys.executable])
    assert (version, able) == (sys.version_info[:2], True)
    assert Path(executable).exists() and not executable.startswith(sys.prefix)  # the base, not ours
    assert setup.ask([str(tmp_path / "nothing")]) is None
    assert setup.ask(["true"]) is None


def test_a_full_disk_is_told_before_anything_is_removed(checkout, monkeypatch, capsys):
    monkeypatch.setattr(setup, "find", lambda _: (sys.executable, (3, 12)))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("Disk", "free")(2e8))
    (checkout / ".venv").mkdir()
    assert setup.main(["test"], checkout) == 1
    assert ".venv needs 1.5 GB of free disk while it is made, and there are 0.2 GB" in (
        capsys.readouterr().err
    )
    assert (checkout / ".venv").exists()


@pytest.mark.parametrize("names", [["python3"], ["python3.14"], []])
def test_make_starts_the_set_up_with_any_python_that_is_there(tmp_path, names):
    """A system may have python3.14 and no python3; without any, make says what to install."""
    for name in names:
        (tmp_path / name).write_text("#!/bin/sh\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    if shutil.which("make") is None:
        return  # and who has none is never asked to
    done = subprocess.run(
        [shutil.which("make"), "--dry-run", "--always-make", "setup"],
        cwd=setup.ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    if names:
        assert f"{tmp_path / names[0]} tools/setup.py" in done.stdout
    else:
        assert "Install Python 3.10 or newer, then run make again" in done.stderr
