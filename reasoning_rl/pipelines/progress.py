"""Live progress in the terminal, with the numbers that matter."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import rich.console
import rich.markup
import rich.progress

# Shown beside the bar, in this order, where a learner reports them.
_SHOWN = ("loss", "accuracy", "reward", "mixed_groups", "kl", "pass_at_1")
_SECONDS_BETWEEN_LINES = 15.0


class Steps:
  """One learner's bar; without a terminal, a line now and then."""

  def __init__(self, console: rich.console.Console, name: str, total: int):
    """Opens the bar.

    Args:
      console: Where to write.
      name: The learner.
      total: Its steps.
    """
    self._console, self._name, self._total = console, name, total
    self._last_line = time.monotonic()
    self._numbers: dict[str, float] = {}
    self._bar: rich.progress.Progress | None = None
    if console.is_terminal:
      self._bar = rich.progress.Progress(
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeRemainingColumn(),
        rich.progress.TextColumn("{task.fields[numbers]}"),
        console=console,
        transient=True,
      )
      self._task = self._bar.add_task(name, total=total, numbers="")
      self._bar.start()

  def update(self, step: int, metrics: Mapping[str, Any]) -> None:
    """Shows that `step` steps are done and what they measured."""
    self._numbers |= {k: float(metrics[k]) for k in _SHOWN if k in metrics}
    numbers = "  ".join(f"{k} {v:.3f}" for k, v in self._numbers.items())
    if self._bar is not None:
      self._bar.update(self._task, completed=step, numbers=numbers)
    elif time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES:
      self._last_line = time.monotonic()
      self._console.print(f"  {self._name} {step}/{self._total}  {numbers}")

  def close(self) -> None:
    """Removes the bar."""
    if self._bar is not None:
      self._bar.stop()


class Progress:
  """What a run prints."""

  def __init__(self, console: rich.console.Console | None = None):
    """Starts the clock.

    Args:
      console: By default the standard output.
    """
    self.console = console or rich.console.Console(highlight=False)
    self._start = time.monotonic()

  def say(self, text: str, bold: bool = False) -> None:
    """Prints a line with the seconds since the start before it."""
    seconds = time.monotonic() - self._start
    said = rich.markup.escape(text)  # A path or a list may hold brackets.
    if bold:
      said = f"[bold]{said}[/bold]"
    self.console.print(f"[dim]{seconds:6.0f} s[/dim]  {said}")

  def steps(self, name: str, total: int) -> Steps:
    """Opens a learner's bar."""
    return Steps(self.console, name, total)
