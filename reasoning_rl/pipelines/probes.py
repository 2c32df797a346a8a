"""Completions that show how a task judges: some are right, some must not be.

A verifier that takes a hedge or the problem's own text for an answer pays for
nothing, and one that knows no form of the right answer never pays. Both are
seen at once when these are judged.
"""

from __future__ import annotations

import dataclasses

from reasoning_rl.tasks import base as task_base

WRONG, ANY = "wrong", ""

# How answers are said, by name.
_FORMS = {
  "the answer is ...": "The answer is {}.",
  r"\boxed{...}": r"So the answer is $\boxed{{{}}}$.",
  "#### ...": "#### {}",
  "Answer: ...": "Answer: {}",
  "the answer alone": "{}",
}


@dataclasses.dataclass(frozen=True)
class Probe:
  """A completion to judge.

  Attributes:
    name: What it is.
    text: What the verifier reads; it ends in a newline if it is complete.
    wanted: `WRONG` where any other verdict is a fault of the verifier; `ANY`
      where the task may see it as it likes.
    gold: Whether it says the right answer and nothing else.
  """

  name: str
  text: str
  wanted: str = ANY
  gold: bool = False


def make(task: task_base.Task, problem: task_base.Problem) -> list[Probe]:
  """Returns the probes of a problem.

  Args:
    task: Its worked solution, where it has one, comes first.
    problem: The problem.
  """
  found = []
  solution = worked(task, problem)
  if solution:
    found.append(Probe("a worked solution", "".join(solution), gold=True))
  answer = problem.answer
  found += [
    Probe(name, form.format(answer) + "\n", gold=True)
    for name, form in _FORMS.items()
    if "\n" not in answer  # A program is no answer in a sentence.
  ]
  question = (problem.question or problem.prompt).strip()
  found += [
    Probe("nothing", "\n", WRONG),
    Probe("a hedge", f"The answer is {answer} or 0 or 1.\n", WRONG),
    Probe("doubt", f"I am not sure. Perhaps {answer}, perhaps not.\n", WRONG),
    Probe("the problem again", f"{question}\n", WRONG),
    Probe("the whole prompt again", echo(problem), WRONG),
  ]
  return found


def worked(task: task_base.Task, problem: task_base.Problem) -> tuple[str, ...]:
  """Returns the thoughts of a worked solution, () where there is none."""
  if not isinstance(task, task_base.Demonstrated):
    return ()
  try:
    return tuple(task.demonstration(problem))
  except task_base.TaskError:  # Given problems need not have one.
    return ()


def echo(problem: task_base.Problem) -> str:
  """Returns a completion that repeats what the policy read."""
  said = [text for _, text in problem.messages] or [problem.prompt]
  return "\n".join(said).replace(task_base.END, "").rstrip("\n") + "\n"
