"""The self-check: every layer that is taken away is missed."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess

import pytest

from reasoning_rl.tasks.sandbox import (
  cases,
  command,
  levels,
  process,
  programs,
  self_check,
)


def skip_unless(level):
  report = self_check.check_level(level)
  if not report.is_complete:
    pytest.skip(
      f"this machine has no sandbox of level {level}: {report.reason}"
    )


def test_the_level_minimal_can_be_had_anywhere():
  assert self_check.check_level("minimal").is_complete


def test_no_level_is_lost_that_this_machine_could_give():
  # Otherwise a fault of ours would only skip the tests of that level.
  tool = shutil.which("bwrap")
  landlock = ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1)
  if tool is None or landlock < 3:
    pytest.skip("this machine lacks bubblewrap or a new enough Landlock")
  bare = [tool, "--unshare-all", "--ro-bind", "/", "/", "--", "true"]
  if subprocess.run(bare, capture_output=True).returncode:
    pytest.skip("this machine's kernel refuses namespaces to bubblewrap")
  for level in levels.LEVELS:
    assert self_check.check_level(level).is_complete, level


@pytest.mark.parametrize("layer", levels.LAYERS)
def test_the_strict_level_is_refused_where_a_layer_is_missing(layer):
  skip_unless("strict")
  if layer == "no_new_privs":
    pytest.skip("bubblewrap itself always sets it")
  if layer in ("uid", "user") and os.geteuid() != 0:
    pytest.skip("bubblewrap itself takes a user namespace without root")
  report = self_check.check(command.plan("strict", without=(layer,)))
  assert not report.is_complete
  assert layer in report.missing
  assert report.reason


@pytest.mark.parametrize("layer", levels.LAYERS)
def test_the_isolated_level_is_refused_where_a_layer_is_missing(layer):
  skip_unless("isolated")
  if layer in ("uid", "user") and os.geteuid() != 0:
    pytest.skip("without root there is no other way to the other layers")
  report = self_check.check(command.plan("isolated", without=(layer,)))
  assert layer not in report.holds
  if layer not in levels.OPTIONAL["isolated"]:
    assert not report.is_complete
    assert layer in report.missing


@pytest.mark.parametrize("layer", levels.LEVELS["confined"])
def test_the_confined_level_is_refused_where_a_layer_is_missing(layer):
  skip_unless("confined")
  if layer == "capabilities" and os.geteuid() != 0:
    pytest.skip("only root has capabilities to drop")
  report = self_check.check(command.plan("confined", without=(layer,)))
  assert layer not in report.holds
  if layer not in levels.OPTIONAL["confined"]:
    assert not report.is_complete


def test_the_reason_says_what_the_missing_layer_was_for():
  skip_unless("isolated")
  report = self_check.check(command.plan("isolated", without=("network",)))
  assert report.missing == ("network",)
  assert report.reason == "nothing prevents network (the host's network)"


@pytest.fixture
def forgetful():
  """Forgets what was found out about this machine, before and after."""
  self_check.check_level.cache_clear()
  yield
  self_check.check_level.cache_clear()


def test_a_machine_without_bubblewrap_refuses_strict_in_one_sentence(
  monkeypatch, forgetful
):
  monkeypatch.setattr(command.shutil, "which", lambda name: None)
  with pytest.raises(levels.SandboxError) as error:
    programs.ProgramVerifier("strict")
  text = str(error.value)
  assert "the sandbox level strict cannot be had on this machine" in text
  assert "apt-get install bubblewrap" in text
  assert "\n" not in text
  # And it falls back to what holds where that is enough.
  if self_check.check_level("isolated").is_complete:
    assert programs.ProgramVerifier("isolated").report.level == "isolated"


def test_a_kernel_without_namespaces_refuses_and_says_what_is_left(
  monkeypatch, forgetful
):
  skip_unless("confined")
  plain = command.configuration

  def no_namespaces(plan, role, witness=None):
    return {**plain(plan, role, witness), "own_namespaces": ["unheard of"]}

  monkeypatch.setattr(command.shutil, "which", lambda name: None)
  monkeypatch.setattr(command, "configuration", no_namespaces)
  with pytest.raises(levels.SandboxError) as error:
    programs.ProgramVerifier("isolated")
  text = str(error.value)
  assert "the sandbox level isolated cannot be had on this machine" in text
  assert "the level confined holds here" in text
  assert "\n" not in text
  assert programs.ProgramVerifier("confined").report.level == "confined"


def test_minimal_is_never_taken_unless_it_is_asked_for(monkeypatch, forgetful):
  def nothing_holds(plan):
    if plan.level == "minimal":
      return self_check.Report("minimal", plan.layers, (), "")
    return self_check.Report(plan.level, (), plan.layers, "the kernel is old")

  monkeypatch.setattr(self_check, "check", nothing_holds)
  with pytest.raises(levels.SandboxError, match="minimal holds here, which is"):
    programs.ProgramVerifier()
  assert programs.ProgramVerifier("minimal").report.level == "minimal"


def test_unknown_names_are_refused():
  with pytest.raises(levels.SandboxError, match="unknown sandbox level 'soft'"):
    programs.ProgramVerifier("soft")
  with pytest.raises(levels.SandboxError, match="unknown sandbox layers"):
    command.plan("strict", without=("door",))


def test_limits_too_small_to_start_with_are_refused():
  skip_unless("confined")
  limits = levels.Limits(memory_bytes=1 << 20)
  with pytest.raises(levels.SandboxError, match="does not start with these"):
    programs.ProgramVerifier("confined", limits=limits)


ADD = "def f(x):\n  return x + 1\n"
TESTS = cases.CallTests((cases.Call((1,), {}, 2),))


@pytest.mark.parametrize("layer", ["user", "limits", "landlock"])
def test_a_layer_that_fails_later_gives_no_verdict(layer, monkeypatch):
  # The self-check passed; then the machine changed.
  skip_unless("confined")
  verifier = programs.ProgramVerifier("confined")
  plain = command.configuration

  def broken(plan, role, witness=None):
    told = plain(plan, role, witness)
    if layer == "landlock":
      told["readable"] = [*told["readable"], "/no/such/folder"]
    elif layer == "limits":
      told["limits"] = {**told["limits"], "descriptors": "none"}
    else:
      told["layers"] = [*told["layers"], "user"]
      told["limits"] = {**told["limits"], "scratch_files": "none"}
    return told

  monkeypatch.setattr(command, "configuration", broken)
  verdict = verifier.verify(ADD, "f", TESTS)
  assert verdict.outcome == "undecided"
  assert "the sandbox did not start" in verdict.reason
  assert verifier.counts == {"undecided": 1}


def test_a_machine_that_starts_nothing_gives_no_verdict(monkeypatch):
  verifier = programs.ProgramVerifier("minimal")
  monkeypatch.setattr(command, "command_line", lambda plan: ["/no/such/python"])
  verdict = verifier.verify(ADD, "f", TESTS)
  assert verdict.outcome == "undecided"
  assert "no helper process can be started" in verdict.reason


def test_a_machine_that_is_too_slow_to_start_gives_no_verdict():
  limits = levels.Limits(start_seconds=1e-6)
  plan = command.plan("minimal", limits)
  with (
    process.Child(plan, "program") as child,
    pytest.raises(process.StartFault, match="time is up"),
  ):
    child.wait_until_ready()


def test_a_closed_pipe_is_the_end_of_a_helper():
  plan = command.plan("minimal")
  with process.Child(plan, "program") as child:
    child.wait_until_ready()
    pid = child._process.pid
  assert child._process.returncode is not None
  with pytest.raises(ProcessLookupError):
    os.kill(pid, 0)
