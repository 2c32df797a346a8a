"""The verifier of mathematics: completion -> correct, wrong or undecided.

First the exact grammar, which is fast and decides most; what it does not cover
goes to math-verify in worker processes, if there are any. Undecided is neither
right nor wrong: whoever learns masks it, whoever measures counts it.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence

from reasoning_rl.tasks.mathematics import (
  admission,
  answers,
  extraction,
  judging,
  reading,
  workers,
)
from reasoning_rl.tasks.mathematics.judging import Verdict


class MathVerifier:
  """Judges completions against gold answers.

  Attributes:
    version: Changes whenever verdicts change; stored with every verdict.
  """

  version = "mathematics-2"

  def __init__(
    self,
    worker_count: int = 2,
    deadline: float = 5.0,
    unordered_lists: bool = False,
    numeric: bool = False,
    memory_bytes: int = workers.MEMORY_BYTES,
  ):
    """Checks that math-verify is installed, if it is asked for.

    Args:
      worker_count: Processes of math-verify; 0 leaves what the exact grammar
        does not cover undecided.
      deadline: Seconds that one verdict of math-verify may take.
      unordered_lists: Whether the order of a bare list, as in `1, 2`, is free.
      numeric: Whether an answer must be a plain number where the gold one is.
      memory_bytes: Address space of a process.

    Raises:
      extras.MissingExtraError: If math-verify is not installed.
    """
    self._unordered_lists = unordered_lists
    self._numeric = numeric
    self._pool = None
    if worker_count:
      self._pool = workers.WorkerPool(worker_count, deadline, memory_bytes)
    self._counts: collections.Counter[str] = collections.Counter()

  def verify(
    self, gold: str, completion: str, prompt: str = "", truncated: bool = False
  ) -> Verdict:
    """Returns the verdict on one completion.

    Args:
      gold: The right answer.
      completion: What the policy wrote.
      prompt: What it read; an echo of it is not searched for answers.
      truncated: Whether the completion ran out of tokens.
    """
    return self.verify_many([gold], [completion], [prompt], [truncated])[0]

  def verify_many(
    self,
    golds: Sequence[str],
    completions: Sequence[str],
    prompts: Sequence[str] | None = None,
    truncated: Sequence[bool] | None = None,
  ) -> list[Verdict]:
    """Returns the verdicts on many completions; the workers share the work.

    Args:
      golds: The right answer of each.
      completions: What the policy wrote.
      prompts: What it read, none by default.
      truncated: Whether each ran out of tokens, False by default.

    Raises:
      ValueError: If there are not as many of each.
    """
    prompts = [""] * len(golds) if prompts is None else prompts
    truncated = [False] * len(golds) if truncated is None else truncated
    lengths = {len(golds), len(completions), len(prompts), len(truncated)}
    if len(lengths) > 1:
      raise ValueError(
        f"{len(golds)} gold answers, {len(completions)} completions,"
        f" {len(prompts)} prompts and {len(truncated)} marks of truncation:"
        " give as many of each"
      )
    found = [
      extraction.extract(completion, prompt, cut)
      for completion, prompt, cut in zip(
        completions, prompts, truncated, strict=True
      )
    ]
    return self.judge_many(golds, found)

  def judge_many(
    self, golds: Sequence[str], found: Sequence[str | None]
  ) -> list[Verdict]:
    """Returns the verdicts on answers that were extracted before.

    Args:
      golds: The right answers.
      found: The answers to judge, None where there is none.
    """
    return [verdict for verdict, _ in self.explain_many(golds, found)]

  def explain_many(
    self, golds: Sequence[str], found: Sequence[str | None]
  ) -> list[tuple[Verdict, str]]:
    """Returns the verdicts as `judge_many`, each with its path and reason.

    Args:
      golds: The right answers.
      found: The answers to judge, None where there is none.
    """
    explained: list[tuple[Verdict, str]] = []
    open_pairs: list[tuple[str, str]] = []
    open_indices = []
    for index, (gold, answer) in enumerate(zip(golds, found, strict=True)):
      verdict, path = self._exact(gold, answer)
      if path == "open":
        pair = admission.admit(gold, answer)
        if self._pool is None or pair is None:
          path = "refused" if self._pool else "not covered"
        else:
          open_pairs.append(pair)
          open_indices.append(index)
      if path != "open":
        self._counts[f"{path}/{verdict.value}"] += 1
      explained.append((verdict, path))
    if open_pairs:
      outcomes = self._pool.judge_many(open_pairs)
      for index, outcome in zip(open_indices, outcomes, strict=True):
        reason = "" if outcome.reason == "decided" else f"/{outcome.reason}"
        self._counts[f"math_verify/{outcome.verdict.value}{reason}"] += 1
        explained[index] = outcome.verdict, f"math_verify{reason}"
    return explained

  def statistics(self) -> dict[str, int]:
    """Returns how many verdicts there were, by `path/verdict[/reason]`.

    Paths: `no answer`, `exact`, `math_verify`; `number` where both
    have to be plain numbers; `gold` where the gold answer is
    none; `refused` where math-verify must not see an answer; `not covered`
    where there is no math-verify.
    """
    return dict(sorted(self._counts.items()))

  def close(self) -> None:
    """Ends the worker processes."""
    if self._pool is not None:
      self._pool.close()

  def __enter__(self) -> MathVerifier:
    """Returns the verifier."""
    return self

  def __exit__(self, *_: object) -> None:
    """Ends the worker processes."""
    self.close()

  def _exact(self, gold: str, answer: str | None) -> tuple[Verdict, str]:
    """Returns the verdict and its path, `open` if math-verify is to say."""
    if answer is None:
      return Verdict.WRONG, "no answer"
    if self._numeric and reading.is_plain_number(gold):
      return judging.judge_number(gold, answer), "number"
    verdict = judging.judge(gold, answer, self._unordered_lists)
    if verdict is not Verdict.UNDECIDED:
      return verdict, "exact"
    return verdict, "open" if gold_fault(gold) is None else "gold"


def gold_fault(gold: str) -> str | None:
  """Returns why a gold answer is none, None if it may be one.

  What is neither a fault nor covered by the grammar is math-verify's.
  """
  found = reading.read(gold)
  if isinstance(found, answers.Unread) and found.malformed:
    return found.reason
  return None
