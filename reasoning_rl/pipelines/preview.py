"""What a model will see of a task, and how what it answers will be judged.

Nothing is sampled and no weights are read: a config's task and tokenizer are
enough. Held-out problems are never shown.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import pathlib
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import ml_collections

from reasoning_rl.models.pretrained import families
from reasoning_rl.pipelines import cuts, preview_page, probes, texts
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.pipelines import stage as stage_lib
from reasoning_rl.pipelines.errors import ConfigError
from reasoning_rl.tasks import base as task_base
from reasoning_rl.tasks import verdicts

SPLITS = ("train", "validation")
_NO_LIMIT = 2**31 - 1
_TOKENIZER = "tokenizer.model"


@dataclasses.dataclass(frozen=True)
class Request:
  """What to show.

  Attributes:
    split: One of `SPLITS`.
    first: Index of the first problem.
    problems: How many.
    completions: Texts to judge, beside the probes.
    as_json: Whether to print JSON, and nothing else.
  """

  split: str = "train"
  first: int = 0
  problems: int = 2
  completions: tuple[str, ...] = ()
  as_json: bool = False

  def __post_init__(self):
    """Refuses held-out problems, which the final evaluation alone reads."""
    if self.split not in SPLITS:
      raise ConfigError(
        f"--split is {self.split!r}: use one of {', '.join(SPLITS)}; held-out"
        " problems are for the final evaluation alone."
      )
    if self.first < 0 or self.problems < 1:
      raise ConfigError(
        f"--first is {self.first} and --problems is {self.problems}: give at"
        " least 0 and 1."
      )


@dataclasses.dataclass(frozen=True)
class Thought:
  """One thought of a solution, as the tokenizer cuts it.

  Attributes:
    text: Its text.
    tokens: Its length.
    fits: Whether `data.max_thought_tokens` allows it.
  """

  text: str
  tokens: int
  fits: bool


@dataclasses.dataclass(frozen=True)
class Judged:
  """A completion and what becomes of it.

  Attributes:
    name: What it is.
    text: What the verifier read.
    answer: The answer that votes would count, None if there is none.
    verdict: "correct", "wrong" or "undecided".
    reason: Why, in a few words.
    fault: What is wrong with that verdict, "" if nothing is.
    thoughts: The completion as thoughts.
    fits: Whether a model could write it within the limits.
  """

  name: str
  text: str
  answer: str | None
  verdict: str
  reason: str
  fault: str
  thoughts: tuple[Thought, ...]
  fits: bool


@dataclasses.dataclass(frozen=True)
class Shown:
  """One problem.

  Attributes:
    id: Its index in the split.
    question: The problem without examples and instructions.
    prompt: All that the model reads, as (text, whether it is a control token).
    prompt_tokens: Its length.
    prompt_fits: Whether `data.max_prompt_tokens` allows it.
    answer: The right answer.
    judged: The probes, then the completions that were given.
    faults: Sentences about what is wrong; none is good.
  """

  id: int
  question: str
  prompt: tuple[tuple[str, bool], ...]
  prompt_tokens: int
  prompt_fits: bool
  answer: str
  judged: tuple[Judged, ...]
  faults: tuple[str, ...]


def run(
  config: ml_collections.ConfigDict, path: pathlib.Path, request: Request
) -> None:
  """Prints the problems that `request` asks for.

  Args:
    config: A run's config; only its task, tokens and limits count.
    path: A workdir, whose SentencePiece model is used if there is one.
    request: What to show.
  """
  notes: list[str] = []
  with (
    reader(config, path) as experiment,
    stage_lib.ready(experiment.task, notes.append),
  ):
    limits = limits_of(experiment, config)
    shown = [
      show(experiment, request.split, index, request.completions)
      for index in range(request.first, request.first + request.problems)
    ]
  if request.as_json:
    found = {"split": request.split, "limits": limits, "notes": notes}
    found["problems"] = [dataclasses.asdict(problem) for problem in shown]
    print(json.dumps(found, indent=2, ensure_ascii=False))
    return
  preview_page.show(limits, request.split, shown, notes)


@contextlib.contextmanager
def reader(
  config: ml_collections.ConfigDict, path: pathlib.Path
) -> Iterator[experiment_lib.Experiment]:
  """Yields the run that a config describes, without a model behind it."""
  config = copy.deepcopy(config)
  texts.check_folder(config)
  with config.unlocked():
    if config.model.path and not config.tokenizer.path:
      config.tokenizer.path = config.model.path
    config.model.path = ""
    config.network.max_positions = _NO_LIMIT
  with contextlib.ExitStack() as stack:
    if not (path / _TOKENIZER).exists():
      # One that has to be trained is not kept.
      path = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
    yield experiment_lib.build(config, path)


def limits_of(
  experiment: experiment_lib.Experiment, config: ml_collections.ConfigDict
) -> dict[str, Any]:
  """Returns what the texts of a run are held to."""
  context = config.network.max_positions
  if config.model.path:
    context = _context(pathlib.Path(config.model.path).expanduser())
  longest = experiment.prompt_size + experiment.completion_size
  return {
    "task": experiment.task.version,
    "thoughts": config.data.thoughts,
    "prompt_tokens": experiment.prompt_size,
    "completion_tokens": experiment.completion_size,
    "thought_tokens": experiment.thought_size,
    "max_thoughts": experiment.max_thoughts,
    "context": context,
    "context_fits": context is None or longest <= context,
  }


def _context(path: pathlib.Path) -> int | None:
  """Returns the context of a pretrained model, None if it is not there."""
  if not (path / families.CONFIG).exists():
    return None
  read = families.read(path)
  return families.network_config(read, str(path)).max_positions


def show(
  experiment: experiment_lib.Experiment,
  split: str,
  index: int,
  completions: Sequence[str] = (),
) -> Shown:
  """Returns one problem, its probes judged."""
  task = experiment.task
  problem = task.problem(split, index)
  prompt = experiment.encode_prompt(problem)
  every = probes.make(task, problem)
  every += [
    probes.Probe(f"given {number}", text.rstrip("\n") + "\n")
    for number, text in enumerate(completions, 1)
  ]
  judged = tuple(_judged(experiment, problem, probe) for probe in every)
  golds = [j for j, p in zip(judged, every, strict=True) if p.gold]
  return Shown(
    id=problem.id,
    question=problem.shown,
    prompt=tuple(visible(experiment, prompt)),
    prompt_tokens=len(prompt),
    prompt_fits=len(prompt) <= experiment.prompt_size,
    answer=problem.answer,
    judged=judged,
    faults=tuple(_faults(experiment, len(prompt), golds, judged)),
  )


def visible(
  experiment: experiment_lib.Experiment, ids: Sequence[int]
) -> list[tuple[str, bool]]:
  """Returns the text of some ids, control tokens apart and marked as such."""
  tokenizer = experiment.tokenizer
  control = {i: "<end>" for i in experiment.end_ids}
  if tokenizer.bos_id is not None:
    control[tokenizer.bos_id] = "<begin>"
  control |= getattr(tokenizer, "control_tokens", {})
  pieces: list[tuple[str, bool]] = []
  plain: list[int] = []
  for index in ids:
    if index not in control:
      plain.append(index)
      continue
    if plain:
      pieces.append((tokenizer.decode(plain), False))
      plain = []
    pieces.append((control[index], True))
  return pieces + ([(tokenizer.decode(plain), False)] if plain else [])


def cut(
  experiment: experiment_lib.Experiment, completion: str
) -> tuple[tuple[Thought, ...], bool]:
  """Returns the thoughts of a completion, and whether it is within limits."""
  ids = experiment.encode_solution((completion,))
  found, start = [], 0
  for last in cuts.ends(ids, experiment.boundary, experiment.end_ids):
    part = ids[start : last + 1]
    start = last + 1
    text = experiment.tokenizer.decode(part)
    fits = len(part) <= experiment.thought_size
    found.append(Thought(text, len(part), fits))
  fits = all(thought.fits for thought in found)
  fits &= len(ids) <= experiment.completion_size
  return tuple(found), fits and len(found) <= experiment.max_thoughts


def _judged(experiment, problem, probe: probes.Probe) -> Judged:
  verdict, answer, reason = judge(experiment.task, problem, probe.text)
  fault = ""
  if probe.wanted and verdict == "correct":
    fault = f"{probe.name} is paid for"
  try:
    found, fits = cut(experiment, probe.text)
  except ValueError:
    found, fits = (), False
    reason = f"{reason}; the tokenizer cannot write it"
  return Judged(
    probe.name, probe.text, answer, verdict, reason, fault, found, fits
  )


def judge(
  task: task_base.Task, problem: task_base.Problem, completion: str
) -> tuple[str, str | None, str]:
  """Returns a verdict, the extracted answer and the reason.

  Args:
    task: The task.
    problem: One of its problems.
    completion: Complete, so it ends in a newline.
  """
  answer = task.extract_answer(completion)
  (verdict,) = verdicts.judge_many(task, [problem], [completion])
  reason = verdict.reason
  if not isinstance(task, verdicts.Judged) and not verdict.is_correct:
    reason = "no final answer was found"
    if answer is not None:
      reason = f"the right answer is {problem.answer}"
  return verdict.outcome, answer, reason


def _faults(experiment, prompt_tokens, golds, judged) -> list[str]:
  """Returns sentences about what would go wrong in a run."""
  found = []
  if prompt_tokens > experiment.prompt_size:
    found.append(
      f"The prompt has {prompt_tokens} tokens and data.max_prompt_tokens is"
      f" {experiment.prompt_size}: raise it, or show fewer examples."
    )
  if not any(j.verdict == "correct" for j in golds):
    found.append("No form of the right answer that was tried is accepted.")
  elif not any(j.verdict == "correct" and j.fits for j in golds):
    found.append(
      "No accepted form of the right answer fits the limits of `data`: raise"
      " max_thought_tokens, max_thoughts or max_completion_tokens."
    )
  worked = judged[0]
  if worked.name == "a worked solution" and worked.verdict != "correct":
    found.append(
      f"The worked solution is judged {worked.verdict} ({worked.reason}): it"
      " teaches, and as an example shows, what does not count."
    )
  elif worked.name == "a worked solution" and not worked.fits:
    found.append(
      "The worked solution exceeds the limits of `data`: raise"
      " max_thought_tokens, max_thoughts or max_completion_tokens."
    )
  found += [f"The verifier is wrong: {j.fault}." for j in judged if j.fault]
  return found
