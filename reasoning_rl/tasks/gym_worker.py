r"""A worker process of `gym`: the scorers of reasoning_gym behind two pipes.

Run by path as `python -I gym_worker.py PACKAGES BYTES THRESHOLD`, never
imported. The protocol is that of `mathematics.workers`: a line of JSON comes
in, a word goes out. `gold` is JSON text too, and says which problem it is:

  {"gold": "{\"name\": ...}", "answer": "12", "seconds": 2.0}  ->  correct

A scorer that pays for nonsense is not asked: then the answer has to be the
given one. One that raises has called the answer wrong, unless it raises on the
given one as well: then it is undecided.
"""

from __future__ import annotations

import functools
import json
import os
import resource
import signal
import sys
from typing import Any

NONSENSE = ("", "nonsense")
# What a scorer has no business doing once it is loaded.
REFUSED = ("os.", "subprocess.", "socket.", "shutil.", "ctypes.")
HARMLESS = ("os.listdir", "os.scandir", "os.walk", "os.fwalk")


def main() -> None:
  """Answers until the input ends."""
  answers = os.dup(1)
  os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # What libraries print.
  sys.path.append(sys.argv[1])
  import reasoning_gym

  most = int(sys.argv[2])
  resource.setrlimit(resource.RLIMIT_AS, (most, most))
  resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
  resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
  sys.addaudithook(guard)
  scorer = Scorer(reasoning_gym, float(sys.argv[3]))
  os.write(answers, b"ready\n")
  for line in open(0, "rb", closefd=False):
    request = json.loads(line)
    signal.setitimer(signal.ITIMER_REAL, request["seconds"] + 1.0)
    try:
      verdict = scorer.judge(request["gold"], request["answer"])
    except Exception:
      verdict = "undecided"
    signal.setitimer(signal.ITIMER_REAL, 0)
    os.write(answers, verdict.encode() + b"\n")


class Scorer:
  """Judges answers to the problems of any generator."""

  def __init__(self, reasoning_gym: Any, threshold: float):
    """Takes the package, and the score from which on an answer is right."""
    self._gym, self._threshold = reasoning_gym, threshold
    self._dataset = functools.lru_cache(16)(self._make)
    self._entry = functools.lru_cache(256)(self._find)

  def judge(self, problem: str, answer: str) -> str:
    """Returns the verdict in a word."""
    dataset, entry, trusted = self._entry(problem)
    if trusted == "no":
      return "undecided"
    if trusted == "exactly":
      same = _plain(answer) == _plain(entry["answer"])
      return "correct" if same else "wrong"
    try:
      score = float(dataset.score_answer(answer, entry))
    except Exception:
      return "wrong" if entry["answer"] is not None else "undecided"
    return "correct" if score >= self._threshold else "wrong"

  def _make(self, name: str, options: str, seed: int, size: int) -> Any:
    options = json.loads(options)
    return self._gym.create_dataset(name, seed=seed, size=size, **options)

  def _find(self, problem: str) -> tuple[Any, dict[str, Any], str]:
    """Returns the dataset, the problem and whether its scorer is trusted."""
    asked = json.loads(problem)
    dataset = self._dataset(
      asked["name"], json.dumps(asked["options"]), asked["seed"], asked["size"]
    )
    entry = asked.get("entry") or dataset[asked["place"]]
    if entry["question"] != asked["question"]:
      return dataset, entry, "no"
    known = entry["answer"] is not None
    if known and not self._pays(dataset, entry["answer"], entry):
      return dataset, entry, "no"
    if any(self._pays(dataset, text, entry) for text in NONSENSE):
      return dataset, entry, "exactly" if known else "no"
    return dataset, entry, "yes"

  def _pays(self, dataset: Any, answer: str, entry: dict[str, Any]) -> bool:
    try:
      return float(dataset.score_answer(answer, entry)) >= self._threshold
    except Exception:
      return False


def guard(event: str, arguments: tuple[Any, ...]) -> None:
  """Refuses what no scorer needs: an audit hook."""
  writes = event == "open" and any(
    mark in str(arguments[1] or "r") for mark in "wax+"
  )
  if writes or (event.startswith(REFUSED) and event not in HARMLESS):
    raise PermissionError(event)


def _plain(text: str) -> str:
  return " ".join(text.split()).casefold()


if __name__ == "__main__":
  main()
