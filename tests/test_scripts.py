"""Tests of the set-up scripts, in a checkout whose Python is a stub.

The stub notes every call and installs nothing; `make_environment` and all
else in the scripts is real.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[1]
STUB = """#!/usr/bin/env bash
# As the interpreter of a .venv it is called like python; else like $NAME.
case "$1 $2" in
  "-c "*sys.exit*)
    [[ " ${STUB_OLD:-} " != *" $(basename "$0") "* ]] ;;
  "-c "*) echo "3.11" ;;
  "-m venv")
    echo "venv" >>"$STUB_LOG"
    mkdir -p "$3/bin"
    [[ -z "${STUB_NO_VENV:-}" ]] || exit 1
    cp "$0" "$3/bin/python" ;;
  "-m pip")
    [[ "$3" != --version ]] || exit 0
    echo "pip ${!#}" >>"$STUB_LOG"
    echo "no route to the index"
    [[ -z "${STUB_KILLED:-}" ]] || kill -9 $PPID
    [[ -z "${STUB_OFFLINE:-}" ]] ;;
  *) printf '%s|' "$@" ; echo ;;
esac
"""


class Checkout:
  """A copy of the scripts with a stub of Python before it on the path."""

  def __init__(self, folder: pathlib.Path):
    self.root = folder / "a checkout"
    self.bin = folder / "bin"
    self.log = folder / "log"
    self.root.mkdir()
    self.bin.mkdir()
    shutil.copytree(ROOT / "scripts", self.root / "scripts")
    shutil.copytree(ROOT / ".ci", self.root / ".ci")
    for name in ("pyproject.toml", "setup.py"):
      shutil.copy(ROOT / name, self.root)
    for name in ("python3", "python3.13", "python3.12", "python3.11"):
      (self.bin / name).write_text(STUB)
      (self.bin / name).chmod(0o755)

  def run(self, script, *arguments, **environment):
    environment = {
      "PATH": f"{self.bin}:{os.defpath}:/usr/bin:/bin",
      "STUB_LOG": str(self.log),
      **environment,
    }
    return subprocess.run(
      [str(self.root / script), *arguments],
      env=environment,
      cwd=self.bin,  # Any folder but the checkout.
      capture_output=True,
      text=True,
    )

  def calls(self):
    """Returns the calls of venv and pip since the last time."""
    lines = self.log.read_text().splitlines() if self.log.exists() else []
    self.log.write_text("")
    return lines


@pytest.fixture
def checkout(tmp_path):
  return Checkout(tmp_path)


def error_of(done):
  """Returns the one sentence that a failed script ends with."""
  assert done.returncode != 0
  assert done.stderr.count("error: ") == 1
  last = done.stderr.splitlines()[-1]
  assert last.startswith("error: ")
  return last


def test_quickstart_installs_then_runs_the_main_job(checkout):
  done = checkout.run("scripts/quickstart.sh")
  assert done.returncode == 0, done.stderr
  assert checkout.calls() == ["venv", f"pip {checkout.root}"]
  assert done.stdout.splitlines()[-1].split("|") == [
    f"{checkout.root}/scripts/run_loop.py",
    f"--config={checkout.root}/configs/arithmetic.py",
    f"--workdir={checkout.root}/runs/quickstart",
    "",
  ]


def test_a_second_run_installs_nothing(checkout):
  checkout.run("scripts/quickstart.sh")
  checkout.calls()
  done = checkout.run("scripts/quickstart.sh", "w w")
  assert checkout.calls() == []
  assert "--workdir=w w|" in done.stdout
  assert done.stderr == ""


def test_test_script_adds_the_dev_extra_once(checkout):
  checkout.run("scripts/quickstart.sh")
  checkout.calls()
  done = checkout.run("scripts/test.sh", "-k", "a b", "--slow")
  assert checkout.calls() == [f"pip {checkout.root}[dev]"]
  assert done.stdout.splitlines() == [
    "-m|ruff|check|.|",
    "-m|ruff|format|--check|.|",
    "-m|pytest|-n|2|--dist|loadfile|--max-worker-restart|0|"
    "-k|a b|-m|slow or not slow|",
  ]
  checkout.run("scripts/quickstart.sh")
  checkout.run("scripts/test.sh")
  assert checkout.calls() == []


def test_ci_runs_the_test_script(checkout):
  done = checkout.run(".ci/run")
  assert done.returncode == 0, done.stderr
  assert "-m|pytest|" in done.stdout


def test_changed_requirements_are_installed_into_the_same_environment(checkout):
  checkout.run("scripts/quickstart.sh")
  checkout.calls()
  with open(checkout.root / "pyproject.toml", "a") as file:
    file.write("\n")
  checkout.run("scripts/quickstart.sh")
  assert checkout.calls() == [f"pip {checkout.root}"]


def test_a_moved_checkout_is_installed_again(checkout):
  checkout.run("scripts/quickstart.sh")
  checkout.calls()
  checkout.root = checkout.root.rename(checkout.root.with_name("moved"))
  checkout.run("scripts/quickstart.sh")
  assert checkout.calls() == [f"pip {checkout.root}"]


def test_an_old_python_is_passed_over_for_a_newer_one(checkout):
  done = checkout.run("scripts/quickstart.sh", STUB_OLD="python3 python3.13")
  assert done.returncode == 0, done.stderr
  assert checkout.calls() == ["venv", f"pip {checkout.root}"]


def test_an_unsupported_python_ends_with_one_sentence(checkout):
  python = str(checkout.bin / "python3")
  done = checkout.run(
    "scripts/quickstart.sh", PYTHON=python, STUB_OLD="python3"
  )
  assert "Python 3.11 or newer is needed" in error_of(done)
  assert checkout.calls() == []
  missing = checkout.run("scripts/quickstart.sh", PYTHON="/no/python")
  assert "Python 3.11 or newer is needed" in error_of(missing)


@pytest.mark.parametrize("script", ["quickstart.sh", "test.sh"])
def test_a_failed_install_names_the_log_and_is_tried_anew(checkout, script):
  done = checkout.run(f"scripts/{script}", STUB_OFFLINE="1")
  log = error_of(done).split("the log is ")[1]
  assert "no route to the index" in pathlib.Path(log).read_text()
  assert "run_loop" not in done.stdout
  checkout.calls()
  assert checkout.run(f"scripts/{script}").returncode == 0
  assert checkout.calls()[0] == "venv"


def test_a_python_without_venv_ends_with_one_sentence(checkout):
  done = checkout.run("scripts/quickstart.sh", STUB_NO_VENV="1")
  assert "making the environment" in error_of(done)
  assert checkout.run("scripts/quickstart.sh").returncode == 0


def test_a_killed_install_is_made_anew(checkout):
  assert checkout.run("scripts/quickstart.sh", STUB_KILLED="1").returncode
  half_made = checkout.root / ".venv" / "lib" / "half"
  half_made.mkdir(parents=True)
  checkout.calls()
  assert checkout.run("scripts/quickstart.sh").returncode == 0
  assert checkout.calls() == ["venv", f"pip {checkout.root}"]
  assert not half_made.exists()


def test_a_failed_extra_leaves_what_was_installed_usable(checkout):
  checkout.run("scripts/quickstart.sh")
  error_of(checkout.run("scripts/test.sh", STUB_OFFLINE="1"))
  checkout.calls()
  offline = checkout.run("scripts/quickstart.sh", STUB_OFFLINE="1")
  assert offline.returncode == 0
  assert checkout.calls() == []


def test_an_environment_made_by_hand_is_used_and_never_removed(checkout):
  own = checkout.root / ".venv" / "bin"
  own.mkdir(parents=True)
  shutil.copy(checkout.bin / "python3", own / "python")
  (own / "mine").touch()
  error_of(checkout.run("scripts/quickstart.sh", STUB_OFFLINE="1"))
  assert checkout.run("scripts/quickstart.sh").returncode == 0
  assert (own / "mine").exists()
  assert "venv" not in checkout.calls()


def test_a_broken_environment_is_made_anew(checkout):
  checkout.run("scripts/quickstart.sh")
  (checkout.root / ".venv" / "bin" / "python").unlink()
  checkout.calls()
  assert checkout.run("scripts/quickstart.sh").returncode == 0
  assert checkout.calls() == ["venv", f"pip {checkout.root}"]


def test_too_many_arguments_are_refused(checkout):
  assert "usage:" in error_of(checkout.run("scripts/quickstart.sh", "a", "b"))
  assert "usage:" in error_of(checkout.run("scripts/quickstart.sh", "--help"))
  assert checkout.calls() == []
