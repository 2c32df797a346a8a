"""How a preview looks in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import rich.console
import rich.panel
import rich.table
import rich.text

_COLORS = {"correct": "green", "wrong": "red", "undecided": "yellow"}


def show(
  limits: Mapping[str, Any],
  split: str,
  problems: Sequence[Any],
  notes: Sequence[str] = (),
  console: rich.console.Console | None = None,
) -> None:
  """Prints problems.

  Args:
    limits: From `preview.limits_of`.
    split: Where the problems are from.
    problems: From `preview.show`.
    notes: Sentences on the task.
    console: By default the standard output.
  """
  console = console or rich.console.Console(highlight=False)
  context = limits["context"]
  console.print(
    f"{limits['task']}: prompts of at most {limits['prompt_tokens']} tokens,"
    f" completions of {limits['completion_tokens']}, at most"
    f" {limits['max_thoughts']} thoughts of {limits['thought_tokens']}, which"
    f" end by {limits['thoughts']!r}; context "
    + ("unknown" if context is None else str(context)),
    markup=False,
  )
  if not limits["context_fits"]:
    _warn(console, "Prompt and completion exceed the context.")
  for note in notes:
    console.print(note, markup=False)
  for problem in problems:
    _show(console, split, problem)


def _show(console, split, problem) -> None:
  prompt = rich.text.Text()
  for piece, is_control in problem.prompt:
    prompt.append(piece, "reverse" if is_control else "")
  if prompt.plain.endswith("\n"):
    prompt.right_crop(1)
    prompt.append("⏎", "dim")
  fits = "" if problem.prompt_fits else ", too many"
  title = f"{split} problem {problem.id}: {problem.prompt_tokens} tokens{fits}"
  console.print(rich.panel.Panel(prompt, title=title))
  console.print(f"right answer: {problem.answer}", markup=False)
  first = problem.judged[0]
  if first.name == "a worked solution":
    console.print(_thoughts(first))
  console.print(_verdicts(problem.judged))
  for judged in problem.judged:
    if judged.name.startswith("given"):
      console.print(_thoughts(judged))
  for fault in problem.faults:
    _warn(console, fault)


def _thoughts(judged) -> rich.table.Table:
  fits = "" if judged.fits else ", beyond the limits"
  table = rich.table.Table(title=f"{judged.name} as thoughts{fits}")
  table.add_column("")
  table.add_column("tokens", justify="right")
  table.add_column("text")
  for number, thought in enumerate(judged.thoughts, 1):
    size = f"{thought.tokens}" + ("" if thought.fits else " !")
    table.add_row(str(number), size, _escaped(thought.text))
  return table


def _verdicts(judged) -> rich.table.Table:
  table = rich.table.Table(title="how completions are judged")
  for name in ("completion", "text", "answer", "verdict", "reason"):
    table.add_column(name, max_width=40 if name == "text" else None)
  for one in judged:
    table.add_row(
      rich.text.Text(one.name),
      _escaped(_short(one.text)),
      rich.text.Text("none" if one.answer is None else _short(one.answer)),
      rich.text.Text(one.verdict, _COLORS[one.verdict]),
      rich.text.Text(_short(one.reason, 120)),
    )
  return table


def _escaped(text: str) -> rich.text.Text:
  """Returns text in which newlines are seen."""
  return rich.text.Text(text.replace("\n", "⏎\n").removesuffix("\n"))


def _short(text: str, size: int = 76) -> str:
  return text if len(text) <= size else f"{text[: size - 4]} ..."


def _warn(console, sentence: str) -> None:
  console.print(rich.text.Text(sentence, "bold red"))
