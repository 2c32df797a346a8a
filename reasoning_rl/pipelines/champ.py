"""A PRM held against people: who sees the first wrong step of a solution?

The solutions are CHAMP's, see `tasks.champ`: lines, of which people have marked
the first wrong one. Each is read as the policy would have written it: encoded
once, and cut into thoughts by the config's boundary. The wrong thought is the
one in which the marked line begins. What comes after it was not judged by
people, and is left out. Half of the problems choose the threshold, and the
other half are reported.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np
import rich.table
from jaxtyping import Bool, Float, Int

from reasoning_rl.data import batching
from reasoning_rl.decoding import scoring
from reasoning_rl.evaluation import report_text, results, reward_quality
from reasoning_rl.pipelines import available
from reasoning_rl.pipelines import config as config_lib
from reasoning_rl.pipelines import cuts as cuts_lib
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.pipelines import progress as progress_lib
from reasoning_rl.pipelines import stage as stage_lib
from reasoning_rl.pipelines.errors import ConfigError
from reasoning_rl.tasks import base as task_base
from reasoning_rl.tasks import champ as champ_lib
from reasoning_rl.tasks import prompts

FILE = "champ.json"  # In the workdir's report folder.
_INSTRUCTION = "Solve the problem step by step."
_ROUND = 256  # Rows are padded to whole numbers of so many tokens.
_TOKENS = 8192  # Of rows scored at once.


class Read(NamedTuple):
  """A solution in tokens.

  Attributes:
    problem: Its problem's number.
    tokens: Prompt and solution, up to the marked thought: a PRM is causal.
    prompt_length: Tokens of the prompt.
    thought_end: Index in `tokens` of the last token of each thought.
    correct: Which thoughts are right; False from the marked one on.
    mask: True up to the marked thought, without blank ones.
  """

  problem: int
  tokens: list[int]
  prompt_length: int
  thought_end: Int[np.ndarray, " T"]
  correct: Bool[np.ndarray, " T"]
  mask: Bool[np.ndarray, " T"]


def run(
  config: ml_collections.ConfigDict,
  path: pathlib.Path,
  data: str = "",
  most_problems: int = 0,
) -> None:
  """Measures the workdir's PRM; prints the figures and writes them down.

  Args:
    config: The workdir's config.
    path: The workdir.
    data: A source in CHAMP's form, see `tasks.sources`; "" is the package.
    most_problems: Read so many problems only; 0: all.
  """
  with stage_lib.open_stage(config, path) as stage:
    solutions = champ_lib.champ_solutions(data or champ_lib.SOURCE)
    name = available.find_prm(stage)
    prm = available.reward_model(stage, name)
    found = measure(
      stage.experiment, prm, solutions, most_problems, stage.progress
    )
    record = {
      "prm": stage.config.inputs.prm or name,
      "config_hash": config_lib.config_hash(stage.config),
      "commit": results.current_commit(),
      "hardware": results.hardware(),
    } | found
    plain = results.to_plain(record)
    written = stage.workdir.report / FILE
    written.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")
    stage.progress.console.print(_table(plain))
    print(written)


def measure(
  experiment: experiment_lib.Experiment,
  prm: Any,
  solutions: Sequence[champ_lib.Solution],
  most_problems: int = 0,
  progress: progress_lib.Progress | None = None,
) -> dict[str, Any]:
  """Returns how well a PRM sees first wrong steps.

  Args:
    experiment: The run, whose PRM and tokenizer are used.
    prm: The PRM's parameters.
    solutions: Marked ones.
    most_problems: Read so many problems only; 0: all.
    progress: Where to show how far it is.
  """
  names = list(dict.fromkeys(s.problem_id for s in solutions))
  names = names[: most_problems or None]
  number = {name: index for index, name in enumerate(names)}
  wanted = [s for s in solutions if s.problem_id in number]
  rows = [read(experiment, s, number[s.problem_id]) for s in wanted]
  limit = experiment.prm.config.max_positions
  kept = [row for row in rows if len(row.tokens) <= limit and row.mask.any()]
  if not kept:
    raise ConfigError(
      f"no solution fits the context of {limit} tokens: choose a model with a"
      " longer one."
    )
  scores = score(experiment, prm, kept, progress)
  correct, mask = _padded(kept, "correct"), _padded(kept, "mask")
  problem = np.array([row.problem for row in kept], np.int32)
  choosing = np.array([_chooses(name) for name in names])[problem]
  _check_halves(correct, mask, choosing)
  threshold = reward_quality.choose_threshold(
    scores[choosing], correct[choosing], mask[choosing]
  )
  rest = ~choosing
  quality = reward_quality.measure(
    "PRM", scores[rest], correct[rest], mask[rest], problem[rest], threshold
  )
  return {
    "problems": len(np.unique(problem[rest])),
    "choosing_problems": len(np.unique(problem[choosing])),
    "choosing_solutions": int(choosing.sum()),
    "too_long": len(rows) - len(kept),
    "thoughts_kind": experiment.config.data.thoughts,
    "without_error": int((correct | ~mask)[rest].all(axis=1).sum()),
    "quality": quality,
  }


def read(
  experiment: experiment_lib.Experiment,
  solution: champ_lib.Solution,
  problem: int,
) -> Read:
  """Returns a solution as tokens and thoughts.

  Args:
    experiment: The run.
    solution: The solution.
    problem: Its problem's number.
  """
  prompt = experiment.encode_prompt(_problem(experiment, solution, problem))
  tokenizer = experiment.tokenizer
  # Where a blank line ends a thought, lines are taken for paragraphs.
  gap = "\n\n" if experiment.config.data.thoughts == "paragraph" else "\n"
  ids = experiment.encode_solution((gap.join(solution.steps) + "\n",))
  ends = np.array(cuts_lib.ends(ids, experiment.boundary, experiment.end_ids))
  wrong = len(ends)
  if solution.first_error is not None:
    # As the tokenizer writes it: some compose characters.
    before = "".join(
      f"{s}{gap}" for s in solution.steps[: solution.first_error]
    )
    before = len(tokenizer.decode(tokenizer.encode(before)))
    # Decoded from the beginning: a thought may end inside a character.
    until = [len(tokenizer.decode(ids[: end + 1])) for end in ends]
    wrong = int(np.searchsorted(until, before, side="right"))
    wrong = min(wrong, len(ends) - 1)
  ends = ends[: wrong + 1]
  starts = [0, *(ends + 1).tolist()]
  parts = zip(starts, starts[1:], strict=False)
  blank = np.array([not tokenizer.decode(ids[a:b]).strip() for a, b in parts])
  return Read(
    problem,
    prompt + ids[: starts[-1]],
    len(prompt),
    ends + len(prompt),
    np.arange(len(ends)) < wrong,
    ~blank,
  )


def score(
  experiment: experiment_lib.Experiment,
  prm: Any,
  rows: Sequence[Read],
  progress: progress_lib.Progress | None = None,
) -> Float[np.ndarray, "B T"]:
  """Returns the PRM's score of each thought, in few shapes."""

  @jax.jit
  def logits(prm, tokens, prompt_length, end):
    found = scoring.thought_logits(
      experiment.prm, prm, tokens, prompt_length, end
    )
    return jax.nn.sigmoid(found)

  thought_size = max(len(row.thought_end) for row in rows)
  scores = np.zeros((len(rows), thought_size), np.float32)
  bar = progress.steps("champ", len(rows)) if progress else None
  done = 0
  for length, chosen in _by_length(rows).items():
    length = min(length, experiment.prm.config.max_positions)
    most = max(1, _TOKENS // length)
    for start in range(0, len(chosen), most):
      piece = chosen[start : start + most]
      # All pieces of one length have one shape, which is compiled once.
      filled = (piece * most)[:most]
      tokens, _ = batching.pad_rows([rows[i].tokens for i in filled], length)
      end, _ = batching.pad_rows(
        [rows[i].thought_end.tolist() for i in filled], thought_size
      )
      prompt = np.array([rows[i].prompt_length for i in filled], np.int32)
      scores[piece] = np.asarray(logits(prm, tokens, prompt, end))[: len(piece)]
      done += len(piece)
      if bar:
        bar.update(done, {})
  if bar:
    bar.close()
  return scores


def _by_length(rows: Sequence[Read]) -> dict[int, list[int]]:
  """Returns the rows' indices by the length that they are padded to."""
  found: dict[int, list[int]] = {}
  for index, row in enumerate(rows):
    length = -(-len(row.tokens) // _ROUND) * _ROUND
    found.setdefault(length, []).append(index)
  return dict(sorted(found.items()))


def _problem(experiment, solution, number: int) -> task_base.Problem:
  """Returns the problem as the run's task would put it, without examples."""
  style = getattr(experiment.task, "prompt_style", "ended")
  config = prompts.PromptConfig(style=style, shots=0, told=_INSTRUCTION)
  prompt, messages = prompts.make(config, solution.problem, ())
  return task_base.Problem(
    id=number,
    split="heldout",
    prompt=prompt,
    answer="",
    facts=(),
    identity=solution.problem_id,
    messages=messages,
    question=solution.problem,
  )


def _chooses(name: str) -> bool:
  """Returns whether a problem is of the half that chooses the threshold."""
  return hashlib.blake2b(name.encode(), digest_size=1).digest()[0] % 2 == 0


def _check_halves(correct, mask, choosing) -> None:
  """Raises unless both halves have solutions with an error and without."""
  right = (correct | ~mask).all(axis=1)
  for half in (choosing, ~choosing):
    if not half.any() or right[half].all() or not right[half].any():
      raise ConfigError(
        "too few solutions: both halves of the problems need some with a wrong"
        " step and some without; read more problems."
      )


def _padded(rows: Sequence[Read], field: str) -> Bool[np.ndarray, "B T"]:
  size = max(len(row.thought_end) for row in rows)
  found = np.zeros((len(rows), size), bool)
  for index, row in enumerate(rows):
    values = getattr(row, field)
    found[index, : len(values)] = values
  return found


def _table(record) -> rich.table.Table:
  """Returns the figures as a table."""
  quality = record["quality"]
  table = rich.table.Table(
    title=f"{record['prm']} on CHAMP: {quality['solutions']} solutions of"
    f" {record['problems']} problems, {record['without_error']} without error"
  )
  table.add_column("")
  table.add_column("value [95 % interval]", justify="right")
  number = report_text.number
  rows = {
    "first-error F1": report_text.interval(quality["first_error_f1"]),
    "first error found": report_text.percent(quality["erroneous_accuracy"]),
    "no error seen": report_text.percent(quality["correct_accuracy"]),
    "threshold": number(quality["first_error_threshold"]),
    "AUROC of thoughts": report_text.interval(quality["auroc"], number),
    "calibration error": report_text.interval(
      quality["calibration_error"], number
    ),
    "thoughts": f"{quality['thoughts']:,}",
    "too long, left out": str(record["too_long"]),
  }
  for name, value in rows.items():
    table.add_row(name, value)
  return table
