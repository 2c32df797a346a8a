"""Tests of reasoning_gym's generators."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json

import pytest

from reasoning_rl.tasks import base, gym, gym_worker, registry, verdicts

needs_gym = pytest.mark.skipif(
  importlib.util.find_spec("reasoning_gym") is None,
  reason="needs reasoning-gym",
)
GENERATORS = (
  "gsm_symbolic",
  "gcd",
  "knights_knaves",
  "simple_integration",
  "game_of_life_halting",
)


@needs_gym
@pytest.mark.parametrize("generator", GENERATORS)
def test_own_answers_are_right_and_junk_is_not(generator):
  task = registry.make("gym", generator=generator, shots=1)
  assert isinstance(task, base.Task) and isinstance(task, verdicts.Judged)
  problems = [task.problem("train", index) for index in range(3)]
  texts = ["".join(task.demonstration(problem)) for problem in problems]
  junk = ["", "The answer is 7.\n", "<answer></answer>\n"]
  junk += ["<answer>I do not know</answer>\n", "<answer>?!</answer>\n"]
  try:
    found = task.judge_many(
      [*problems, *problems[:1] * len(junk)], [*texts, *junk]
    )
  finally:
    task.close()
  assert all(verdict.is_correct for verdict in found[:3])
  assert not any(verdict.is_correct for verdict in found[3:])
  assert found[3].reason == "no answer"


@needs_gym
def test_a_version_names_all_that_a_verdict_hangs_on():
  make = lambda **changes: registry.make("gym", generator="gcd", **changes)
  version = make().version
  installed = importlib.metadata.version("reasoning-gym")
  assert version.startswith(f"gym-1/gcd/reasoning-gym {installed}/")
  others = (
    dict(options='{"max_value": 20}'),
    dict(threshold=0.5),
    dict(seed=1),
  )
  assert len({version, *(make(**other).version for other in others)}) == 4
  # Not how a question is put, nor how fast it is judged.
  assert make(shots=0, workers=2, deadline=9.0).version == version


@needs_gym
def test_the_split_decides_the_seeds_and_the_hash():
  tasks = [
    registry.make("gym", generator="gcd", shots=0, seed=seed)
    for seed in (0, 0, 1)
  ]
  first, again, other = (
    {s: [t.problem(s, i) for i in range(12)] for s in base.SPLITS}
    for t in tasks
  )
  assert first == again
  for split, problems in first.items():
    assert all(base.split_of(p.identity) == split for p in problems)
    assert [p.id for p in problems] == list(range(12))
  assert first["train"] != other["train"]
  seen = [{p.identity for p in first[split]} for split in base.SPLITS]
  assert not seen[0] & seen[1] and not seen[0] & seen[2]


@needs_gym
def test_a_generator_or_an_option_that_is_not_there_is_one_sentence():
  for changes, sentence in (
    ({"generator": "chain_sums"}, "no generator called .* mean 'chain_sum'"),
    ({"options": '{"max_valu": 3}'}, "no option of 'gcd' .* mean 'max_value'"),
    ({"options": '{"max_value": 0}'}, "cannot make 'gcd' with the options"),
  ):
    task = registry.make("gym", **{"generator": "gcd", "shots": 0} | changes)
    with pytest.raises(base.TaskError, match=sentence):
      task.problem("train", 0)


@pytest.mark.parametrize(
  ("options", "sentence"),
  [
    ({"options": "max=3"}, "options is 'max=3': give a JSON object"),
    ({"options": '{"seed": 3}'}, "without 'seed' and 'size'"),
    ({"threshold": 0.0}, "threshold is 0.0: set it above 0"),
    ({"workers": 0}, "workers is 0"),
    ({"shots": -1}, "shots is -1"),
  ],
)
def test_options_that_cannot_be_are_refused(options, sentence):
  with pytest.raises(base.TaskError, match=sentence):
    registry.make("gym", **options)


@pytest.mark.parametrize(
  ("text", "answer"),
  [
    ("So.\n<answer>7</answer>\n", "7"),
    ("<answer>\n1 2\n3 4\n</answer>\n", "1 2\n3 4"),
    ("<answer>7</answer>, that is <answer> 7 </answer>\n", "7"),
    ("<answer>7</answer> or <answer>8</answer>\n", None),
    ("<answer>7</answer>", None),
    ("<answer>7\n", None),
    ("7\n", None),
    ("<think><answer>7</answer>\n", None),
    ("<think><answer>8</answer></think>\n<answer>7</answer>\n", "7"),
    (f"<answer>{'7' * 5000}</answer>\n", None),
  ],
)
def test_an_answer_stands_between_its_marks_once(text, answer):
  assert gym.Gym().extract_answer(text) == answer


ADMITTED = {
  "countdown": ["(3 + 4)*12 - 1", "40/8"],
  "simple_integration": [
    "3*x**2/2 + sin(2*x) + C",
    "x**(1/2) - 0.5*exp(x)",
  ],
  "n_queens": ["_ Q\nQ _", "[['Q', '_'], ['_', 'Q']]"],
  "gcd": ["anything at all"],
}
NOT_ADMITTED = {
  "countdown": ["9**9**9", "9 ** 9", "__import__('os')", "exit()", "1" * 12],
  "simple_integration": [
    "x**9**9",
    "x**999",
    "x**(2)**(3)",
    "__import__('os').system('ls')",
    "x.diff(x)",
    "eval(x)",
    "lambda: x",
    "[x for x in x]",
  ],
  "n_queens": ["exit()", "[().__class__]", "['Q' * 9]", "{}", "a__b"],
}


@pytest.mark.parametrize("generator", sorted(ADMITTED))
def test_a_scorer_that_evaluates_text_sees_plain_text_only(generator):
  for answer in ADMITTED[generator]:
    assert gym.admitted(generator, answer), answer
  for answer in NOT_ADMITTED.get(generator, ()):
    assert not gym.admitted(generator, answer), answer


class _Package:
  """Stands in for reasoning_gym: its data sets score as they are told."""

  def __init__(self, score, answer="7"):
    self._score, self._answer = score, answer

  def create_dataset(self, name, seed, size):
    return self

  def __getitem__(self, place):
    return {"question": "q", "answer": self._answer}

  def score_answer(self, answer, entry):
    return self._score(answer)


def _judge(answer, score, gold="7", question="q"):
  asked = {"name": "n", "options": {}, "seed": 0, "size": 1, "place": 0}
  asked["question"] = question
  scorer = gym_worker.Scorer(_Package(score, gold), 0.99)
  return scorer.judge(json.dumps(asked), answer)


def _raises(answer):
  raise KeyError(answer)


def test_a_score_below_the_threshold_is_wrong():
  score = lambda answer: {"7": 1.0, "8": 0.9}.get(answer, 0.01)
  assert [_judge(a, score) for a in ("7", "8", "9")] == [
    "correct",
    "wrong",
    "wrong",
  ]


def test_a_scorer_that_raises_on_an_answer_calls_it_wrong():
  score = lambda answer: 1.0 if answer == "7" else _raises(answer)
  assert _judge("7", score) == "correct" and _judge("8", score) == "wrong"


def test_a_scorer_that_fails_on_the_given_answer_is_undecided():
  assert _judge("7", _raises) == "undecided"
  assert _judge("7", lambda answer: 0.5) == "undecided"
  assert _judge("8", _raises, gold=None) == "undecided"


def test_a_scorer_that_pays_for_nonsense_is_not_asked():
  pays = lambda answer: 1.0
  assert _judge(" 7\n", pays) == "correct" and _judge("8", pays) == "wrong"
  assert _judge("8", pays, gold=None) == "undecided"


def test_another_problem_than_was_asked_is_undecided():
  score = lambda answer: float(answer == "7")
  assert _judge("7", score, question="another") == "undecided"
