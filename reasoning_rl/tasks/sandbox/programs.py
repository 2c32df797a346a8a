"""The verifier of programs: unit tests that only a right program passes.

The program runs in the sandbox and answers calls with plain values. This
process alone knows what is expected and alone compares; tests that are code run
in a second sandboxed process, the referee, which meets only the values. What a
program's own process claims, prints or returns as an exit code decides nothing.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import threading
import time
from collections.abc import Iterable, Sequence

from reasoning_rl.tasks.sandbox import (
  asserts,
  cases,
  command,
  levels,
  process,
  self_check,
)
from reasoning_rl.tasks.sandbox.child import values

CORRECT, WRONG, UNDECIDED = "correct", "wrong", "undecided"
MAX_PROGRAM_CHARS = 1 << 18


@dataclasses.dataclass(frozen=True)
class Verdict:
  """What the verifier says of one program.

  Attributes:
    outcome: `CORRECT`, `WRONG`, or `UNDECIDED` where the machine or the tests
      are at fault, and nothing is known of the program.
    reason: Why, for people.
    passed: Tests passed. Counted to the end only with partial credit.
    total: Tests there are.
  """

  outcome: str
  reason: str
  passed: int
  total: int

  @property
  def fraction(self) -> float:
    """The fraction of the tests that passed."""
    return self.passed / self.total if self.total else 0.0


class ProgramVerifier:
  """Judges programs by unit tests in the sandbox. Threads may share it.

  Attributes:
    report: The self-check of the level that is used.
    counts: How many verdicts there were of each outcome.
  """

  def __init__(
    self,
    level_required: str = "confined",
    timeout: float = 10.0,
    limits: levels.Limits | None = None,
    partial_credit: bool = False,
  ):
    """Checks the sandbox and takes the strongest level there is.

    Args:
      level_required: The weakest level to put up with. "minimal" is no wall
        and never used unless it is asked for here.
      timeout: Seconds of wall time for one program and all its tests.
      limits: Other limits; their `seconds` give way to `timeout`.
      partial_credit: Whether to run all tests after one has failed.

    Raises:
      SandboxError: If this machine gives no such level.
    """
    limits = limits or levels.Limits()
    cpu_seconds = min(limits.cpu_seconds, int(timeout) + 1)
    limits = dataclasses.replace(
      limits, seconds=timeout, cpu_seconds=cpu_seconds
    )
    self._plan, self.report = self_check.choose(level_required, limits)
    self._partial_credit = partial_credit
    self._lock = threading.Lock()
    self.counts: collections.Counter[str] = collections.Counter()

  def verify(
    self, program: str, entry_point: str | None, tests: cases.Tests
  ) -> Verdict:
    """Returns the verdict on a program.

    Args:
      program: Python text.
      entry_point: The tested function's name; None for scripts, and for
        assertions that tell it themselves.
      tests: Of any of the forms in `cases`.
    """
    try:
      judged = self._judge(program, entry_point, tests)
    except process.StartFault:
      try:
        judged = self._judge(program, entry_point, tests)  # Once more.
      except process.StartFault as fault:
        reason = f"the sandbox did not start: {fault}"
        judged = Verdict(UNDECIDED, reason, 0, 0)
    with self._lock:
      self.counts[judged.outcome] += 1
    return judged

  def verify_all(
    self,
    jobs: Sequence[tuple[str, str | None, cases.Tests]],
    workers: int = 2,
  ) -> list[Verdict]:
    """Returns the verdicts on many programs, judged side by side."""
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
      return list(pool.map(lambda job: self.verify(*job), jobs))

  def _judge(
    self, program: str, entry_point: str | None, tests: cases.Tests
  ) -> Verdict:
    run = _Run(self._plan, self._partial_credit)
    try:
      if not program.strip() or len(program) > MAX_PROGRAM_CHARS:
        return run.end(WRONG, "an empty program, or one that is far too long")
      return run.judge(program, entry_point, tests)
    except process.ChildFault as fault:
      return run.end(WRONG, str(fault))
    except TestsFault as fault:
      return run.end(UNDECIDED, f"the tests are at fault: {fault}")
    except values.ValueFault as fault:
      return run.end(UNDECIDED, f"the tests cannot be sent: {fault}")


class TestsFault(Exception):
  """Tests that say nothing of any program."""

  __test__ = False  # Not for pytest.


class _Run:
  """One program meeting its tests."""

  def __init__(self, plan: command.Plan, partial_credit: bool):
    self._plan = plan
    self._partial_credit = partial_credit
    self._passed = 0
    self._total = 0
    self._deadline = 0.0

  def end(self, outcome: str, reason: str) -> Verdict:
    """Returns the verdict with the tests counted so far."""
    return Verdict(outcome, reason, self._passed, self._total)

  def judge(
    self, program: str, entry_point: str | None, tests: cases.Tests
  ) -> Verdict:
    """Returns the verdict of tests of any form."""
    if isinstance(tests, cases.ScriptTests):
      return self._count(
        self._script_passes(program, case) for case in self._all(tests.cases)
      )
    if isinstance(tests, cases.CallTests):
      return self._call_all(program, _named(entry_point), tests.calls)
    if isinstance(tests, cases.CheckTests):
      calls = asserts.read_check(tests.source)
      if calls is not None and _are_plain(calls):
        return self._call_all(program, _named(entry_point), calls)
      texts, checks = (tests.source,), True
    else:
      entry_point = entry_point or asserts.tested_name(
        tests.asserts, tests.setup
      )
      read = [
        asserts.read_assert(t, _named(entry_point)) for t in tests.asserts
      ]
      if all(calls is not None and _are_plain(calls) for calls in read):
        calls = tuple(call for calls in read for call in calls)
        return self._call_all(program, _named(entry_point), calls)
      texts, checks = tests.asserts, False
    return self._referee_all(program, _named(entry_point), texts, tests, checks)

  def _all(self, tests: Sequence) -> Sequence:
    """Returns the tests, counted."""
    if not tests:
      raise TestsFault("there are none")
    self._total = len(tests)
    return tests

  def _count(self, results: Iterable[bool]) -> Verdict:
    for passed in results:
      self._passed += passed
      if not passed and not self._partial_credit:
        break
    if self._passed == self._total:
      return self.end(CORRECT, "all tests passed")
    return self.end(WRONG, "a test failed")

  # Calls, which this process judges itself.

  def _call_all(
    self, program: str, name: str, calls: Sequence[cases.Call]
  ) -> Verdict:
    self._all(calls)
    if not _are_plain(calls):
      raise TestsFault("they hold values that are not plain")
    with process.Child(self._plan, "program") as child:
      self._define(child, program)
      return self._count(self._call_passes(child, name, call) for call in calls)

  def _define(self, child: process.Child, program: str) -> None:
    child.wait_until_ready()
    self._deadline = time.monotonic() + self._plan.limits.seconds
    child.send("define", program)
    answer = child.receive(self._deadline)
    if answer[0] != "defined":
      raise process.ChildFault(f"the program does not load: {_words(answer)}")

  def _call_passes(
    self, child: process.Child, name: str, call: cases.Call
  ) -> bool:
    child.send("call", name, call.arguments, call.keywords)
    answer = child.receive(self._deadline)
    if answer[0] != "value" or len(answer) != 2:
      return False
    return cases.holds(call, answer[1])

  # Tests that are code, which a referee judges.

  def _referee_all(
    self,
    program: str,
    name: str,
    texts: Sequence[str],
    tests: cases.CheckTests | cases.AssertTests,
    checks: bool,
  ) -> Verdict:
    self._all(texts)
    with (
      process.Child(self._plan, "referee") as referee,
      process.Child(self._plan, "program") as child,
    ):
      referee.wait_until_ready()
      self._define(child, program)
      return self._count(
        self._referee_passes(
          referee, child, ("judge", tests.setup, text, name, checks)
        )
        for text in texts
      )

  def _referee_passes(
    self, referee: process.Child, child: process.Child, order: tuple
  ) -> bool:
    _, _, text, name, _ = order
    referee.send(*order)
    calls = 0
    while True:
      try:
        answer = referee.receive(self._deadline)
      except process.ChildFault as fault:
        # After a value of the program's it may be that value's doing.
        if calls:
          raise
        raise TestsFault(f"they never call the program: {fault}") from fault
      if answer[0] == "unasked":
        raise TestsFault(f"a value that is not plain: {_words(answer)}")
      if answer[0] == "judged":
        if not calls:
          raise TestsFault(f"they never call the program: {_words(answer)}")
        return len(answer) > 1 and answer[1] is True
      if answer[0] != "call" or len(answer) != 3:
        raise TestsFault("the referee says something else")
      calls += 1
      reply = self._ask(child, name, answer)
      # A NaN passes every test that only asks what must not hold.
      nan = reply[0] == "value" and cases.contains_nan(reply[1])
      if reply[0] == "unplain" or (nan and "nan" not in text.lower()):
        return False
      try:
        referee.send(*reply)
      except values.ValueFault:
        return False  # The program's value, and its fault.

  def _ask(self, child: process.Child, name: str, question: tuple) -> tuple:
    """Returns the program's answer to a call, in one of three forms."""
    child.send("call", name, question[1], question[2])
    answer = child.receive(self._deadline)
    kind = answer[0]
    if kind not in ("value", "raised", "unplain") or len(answer) != 2:
      raise process.ChildFault("the answer has a wrong form")
    if kind == "raised" and type(answer[1]) is not str:
      raise process.ChildFault("the answer has a wrong form")
    return answer

  # Scripts, each test in a process of its own.

  def _script_passes(self, program: str, case: tuple[str, str]) -> bool:
    text, expected = case
    with process.Child(self._plan, "script") as child:
      child.wait_until_ready()
      deadline = time.monotonic() + self._plan.limits.seconds
      try:
        child.send("run", program, text)
        if child.receive(deadline) != ("started",):
          return False
        if child.receive(deadline) != ("finished",):
          return False
        child.read_to_end(deadline)
      except process.ChildFault:
        return False
      printed = child.printed.decode("utf-8", "replace")
    return cases.same_text(printed, expected)


def _words(answer: tuple) -> str:
  """Returns the texts in an answer; other values may be too long to print."""
  return " ".join(word[:80] for word in answer[:4] if type(word) is str)


def _named(entry_point: str | None) -> str:
  if not entry_point:
    raise TestsFault("they do not say which function they test")
  return entry_point


def _are_plain(calls: Sequence[cases.Call]) -> bool:
  try:
    for call in calls:
      values.encode((call.arguments, call.keywords, call.expected), 1 << 22)
  except values.ValueFault:
    return False
  return True
