"""Any generator of reasoning_gym, by its name.

REASONING GYM: Reasoning Environments for Reinforcement Learning with Verifiable
Rewards (2505.24760). A problem's split decides the range of its random seeds,
and the hash of its text must agree, so that no problem of a small generator
turns up in two splits.

Scores are not rewards: many scorers pay a little for nonsense, some raise, some
evaluate the answer as Python. So a score counts from `threshold` on, scorers
run in processes that are killed at a deadline (`gym_worker`), and those that
evaluate text see nothing but what a strict grammar admits.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib.metadata
import itertools
import json
import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from reasoning_rl import extras
from reasoning_rl.tasks import base, problem_set, prompts, verdicts
from reasoning_rl.tasks.mathematics import workers as workers_lib
from reasoning_rl.tasks.mathematics.judging import Verdict

SCRIPT = pathlib.Path(__file__).with_name("gym_worker.py")
MAX_ANSWER_CHARS = 4000

# Problems of one dataset of the package; some are slow to make large.
_BLOCK = 256
_BLOCKS = 1 << 20  # Of each split.
_FIRST_EXAMPLE = 1 << 40

_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
# Whose scorers evaluate what they are given, and what they may be given.
_LISTS = (
  "binary_matrix n_queens number_sorting spiral_matrix string_insertion"
).split()
_SUMS = ("countdown", "puzzle24")
_TERMS = (
  "intermediate_integration polynomial_multiplication simple_integration"
).split()
_LIST = re.compile(r"[0-9A-Za-z_\[\],.'\" \n+-]{0,2000}")
_SUM = re.compile(r"(?:[0-9]{1,9}(?![0-9])|\*(?!\*)|[-+/() .]){0,200}")
_TERM = re.compile(
  r"(?:[0-9]{1,12}(?:\.[0-9]{1,12})?(?![0-9.])|[a-zA-Z]+"
  r"|\*\*\(?-?[0-9]{1,2}(?:/[0-9]{1,2})?(?![0-9])\)?"
  r"|\*(?!\*)|[-+/() ]){0,300}"
)
_TOWER = re.compile(r"\*\*[-0-9/() ]*\*\*")
_WORDS = frozenset(
  "sin cos tan exp log ln sqrt sinh cosh tanh asin acos atan pi Abs".split()
)


@dataclasses.dataclass(frozen=True)
class Gym:
  """The problems of one generator.

  Attributes:
    generator: Its name in reasoning_gym.
    options: Its options as JSON text, such as '{"max_value": 20}'.
    seed: Seed of the problems; not of the splits.
    threshold: The least score that is right.
    hashed: Whether a problem's hash must agree with its split; without it the
      seeds alone keep splits apart, and ten times fewer problems are made.
    workers: Processes for the scorers.
    deadline: Seconds that one verdict may take.
    prompt_style: "ended" or "chat"; see `prompts`.
    shots: Worked examples in the prompt; without steps where there are none.
    reasoning: "chain" or "none".
    instructed: Whether an instruction goes before the examples.
    prompt_seed: Chooses the examples.
  """

  generator: str = "gsm_symbolic"
  options: str = "{}"
  seed: int = 0
  threshold: float = 0.99
  hashed: bool = True
  workers: int = 1
  deadline: float = 5.0
  prompt_style: str = "ended"
  shots: int = 2
  reasoning: str = "chain"
  instructed: bool = True
  prompt_seed: int = 0

  name: ClassVar[str] = "gym"

  def __post_init__(self):
    """Raises on options that cannot be."""
    base.check_at_least(
      seed=(self.seed, 0),
      prompt_seed=(self.prompt_seed, 0),
      workers=(self.workers, 1),
    )
    for key, value in (
      ("threshold", self.threshold),
      ("deadline", self.deadline),
    ):
      if not value > 0:
        raise base.TaskError(f"{key} is {value}: set it above 0")
    self._prompt  # noqa: B018, it checks itself.
    self._options  # noqa: B018

  @property
  def version(self) -> str:
    """The generator's, with all that its problems and verdicts hang on."""
    extras.require("reasoning_gym", "tasks")
    package = importlib.metadata.version("reasoning-gym")
    options = json.dumps(self._options, sort_keys=True)
    return (
      f"gym-1/{self.generator}/reasoning-gym {package}/{options}"
      f"/seed {self.seed}/from {self.threshold}"
    )

  def problem(self, split: str, index: int) -> base.Problem:
    """Returns problem `index` (unlimited, from 0) of a split."""
    identity, (entry, place) = self._draw(split, index)
    question = entry["question"].strip()
    examples = self._examples if self.shots else ()
    shown = [e for e in examples if e.question != question][: self.shots]
    prompt, messages = prompts.make(self._prompt, question, shown)
    return base.Problem(
      id=index,
      split=split,
      prompt=prompt,
      answer=entry["answer"] or "",
      facts=(self._thoughts(entry), self._asked(entry, *place)),
      identity=identity,
      messages=messages,
      question=question,
    )

  def demonstration(self, problem: base.Problem) -> tuple[str, ...]:
    """Returns the lines of a solution: its answer, and steps if there are."""
    if not problem.answer:
      raise base.TaskError(
        f"the generator {self.generator!r} gives no answers to show: set"
        " task.gym.shots and sft.max_steps to 0"
      )
    return problem.facts[0]

  def extract_answer(self, completion: str) -> str | None:
    """Returns what stands between <answer> and </answer>, None in doubt."""
    segment = completion.rpartition("</think>")[2]
    if "<think>" in segment or not completion.endswith("\n"):
      return None
    found = {text.strip() for text in _ANSWER.findall(segment)}
    if len(found) != 1:
      return None
    (answer,) = found
    return answer if 0 < len(answer) <= MAX_ANSWER_CHARS else None

  def judge(self, problem: base.Problem, completion: str) -> verdicts.Verdict:
    """Returns the verdict on a completion."""
    return self.judge_many([problem], [completion])[0]

  def verify(self, problem: base.Problem, completion: str) -> bool:
    """Returns whether a completion is known to be right."""
    return self.judge(problem, completion).is_correct

  def judge_many(
    self, problems: Sequence[base.Problem], completions: Sequence[str]
  ) -> list[verdicts.Verdict]:
    """Returns the verdict on each completion of the problem beside it."""
    found: list[verdicts.Verdict | None] = []
    pairs = []
    for problem, text in zip(problems, completions, strict=True):
      answer = self.extract_answer(text)
      if answer is None:
        found.append(verdicts.wrong("no answer"))
      elif not admitted(self.generator, answer):
        found.append(verdicts.undecided("not for a scorer that evaluates it"))
      else:
        found.append(None)
        pairs.append((problem.facts[1], answer))
    outcomes = iter(self._pool.judge_many(pairs) if pairs else ())
    return [verdict or _verdict(next(outcomes)) for verdict in found]

  def prepare(self) -> str:
    """Starts the processes of the scorers."""
    self._pool.start()
    return ""

  def close(self) -> None:
    """Ends the processes of the scorers."""
    if "_pool" in self.__dict__:
      self._pool.close()

  @functools.cached_property
  def _options(self) -> dict[str, Any]:
    try:
      found = json.loads(self.options)
    except ValueError:
      found = None
    if not isinstance(found, dict) or {"seed", "size"} & found.keys():
      raise base.TaskError(
        f"options is {self.options!r}: give a JSON object, without 'seed' and"
        " 'size', such as '{\"max_value\": 20}'"
      )
    return found

  @functools.cached_property
  def _prompt(self) -> prompts.PromptConfig:
    told = "Put the final answer between <answer> and </answer>."
    if self.reasoning == "none":
      told = f"Give the answer alone. {told}"
    return prompts.PromptConfig(
      self.prompt_style, self.shots, self.reasoning, self.instructed, told
    )

  @functools.cached_property
  def _make(self):
    """Returns (seed) -> a dataset of the package, the last ones kept."""
    gym = extras.require("reasoning_gym", "tasks")
    known = gym.factory.DATASETS
    _check_known("generator", [self.generator], known)
    fields = dataclasses.fields(known[self.generator][1])
    _check_known(
      f"option of {self.generator!r}", self._options, [f.name for f in fields]
    )

    @functools.lru_cache(maxsize=16)
    def make(seed: int) -> Any:
      try:
        return gym.create_dataset(
          self.generator, seed=seed, size=_BLOCK, **self._options
        )
      except Exception as error:
        reason = (str(error).splitlines() or ["no reason"])[0]
        raise base.TaskError(
          f"reasoning_gym cannot make {self.generator!r} with the options"
          f" {self.options}: {reason}"
        ) from error

    return make

  def _draw(self, split: str, index: int):
    """Returns the identity, the entry, and its dataset's seed and place."""
    tried = itertools.count()
    seed = 0

    def propose(rng: base.Draws):
      nonlocal seed
      if next(tried) % _BLOCK == 0:  # Another dataset once one is used up.
        first = base.SPLITS.index(split) * _BLOCKS
        seed = (first + rng.below(_BLOCKS)) * _BLOCK
      place = rng.below(_BLOCK)
      entry = self._make(seed)[place]
      identity = problem_set.normalised(entry["question"])
      return identity, (entry, (seed, place))

    if self.hashed:
      advice = "choose options that give more problems"
      return base.draw(self.seed, split, index, propose, advice)[:2]
    base.check_at_least(index=(index, 0))
    if split not in base.SPLITS:
      raise base.TaskError(f"unknown split {split!r}")
    return propose(base.Draws(self.seed, base.SPLITS.index(split), index))

  @functools.cached_property
  def _examples(self) -> tuple[prompts.Example, ...]:
    """Worked training problems: one more than is shown of them."""
    found = []
    for number in range(self.shots + 1):
      index = _FIRST_EXAMPLE + self.prompt_seed * 64 + number
      entry = self._draw("train", index)[1][0]
      if entry["answer"] is None:
        raise base.TaskError(
          f"the generator {self.generator!r} gives no answers to show: set"
          " task.gym.shots to 0"
        )
      question = entry["question"].strip()
      found.append(prompts.Example(question, self._thoughts(entry)))
    return tuple(found)

  def _thoughts(self, entry: dict[str, Any]) -> tuple[str, ...]:
    """Returns the lines of a solution, () if no answer is known."""
    if entry["answer"] is None:
      return ()
    worked = entry.get("metadata", {}).get("answer_cot", "")
    steps = worked.rpartition("####")[0] if "####" in worked else worked
    if self.reasoning == "none":
      steps = ""
    answer = f"<answer>{entry['answer']}</answer>"
    said = tuple(f"{line}\n" for line in answer.split("\n"))
    return (*problem_set.lines(steps), *said)

  def _asked(self, entry: dict[str, Any], seed: int, place: int) -> str:
    """Returns which problem it is, for the worker.

    Some generators make another problem in another process, so the problem
    itself goes along where JSON can hold it.
    """
    asked = {
      "name": self.generator,
      "options": self._options,
      "seed": seed,
      "size": _BLOCK,
      "place": place,
      "question": entry["question"],
    }
    try:
      if json.loads(json.dumps(entry)) == entry:
        asked["entry"] = entry
    except (TypeError, ValueError):
      pass
    return json.dumps(asked)

  @functools.cached_property
  def _pool(self) -> workers_lib.WorkerPool:
    module = extras.require("reasoning_gym", "tasks")
    packages = str(pathlib.Path(module.__file__).parents[1])
    command = [*workers_lib.PYTHON, str(SCRIPT), packages]
    command += [str(workers_lib.MEMORY_BYTES), str(self.threshold)]
    return workers_lib.WorkerPool(self.workers, self.deadline, command=command)


def admitted(generator: str, answer: str) -> bool:
  """Returns whether a generator's scorer may see an answer."""
  if generator in _LISTS:
    return bool(_LIST.fullmatch(answer)) and "__" not in answer
  if generator in _SUMS:
    return bool(_SUM.fullmatch(answer))
  if generator in _TERMS:
    words = re.findall("[a-zA-Z]{2,}", answer)
    if _TOWER.search(answer) or not _WORDS.issuperset(words):
      return False
    return bool(_TERM.fullmatch(answer))
  return True


def _check_known(kind: str, names: Iterable[str], known: Iterable[str]) -> None:
  """Raises on a name that reasoning_gym does not have."""
  known = sorted(known)
  for name in names:
    if name not in known:
      nearest = difflib.get_close_matches(name, known, n=1, cutoff=0)
      raise base.TaskError(
        f"reasoning_gym has no {kind} called {name!r}: did you mean"
        f" {nearest[0]!r}?"
      )


def _verdict(outcome: workers_lib.Outcome) -> verdicts.Verdict:
  if outcome.verdict is Verdict.CORRECT:
    return verdicts.correct("the scorer pays")
  if outcome.verdict is Verdict.WRONG:
    return verdicts.wrong("the scorer does not pay")
  why = {"unread": "the scorer does not know"}.get(outcome.reason)
  return verdicts.undecided(why or f"the scorer's {outcome.reason}")
