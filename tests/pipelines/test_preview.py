"""What a preview shows is what a run does, and it finds bad verifiers."""

from __future__ import annotations

import dataclasses
import io
import json
import pathlib

import numpy as np
import pytest
import rich.console

from reasoning_rl.data import thoughts
from reasoning_rl.models import network as network_lib
from reasoning_rl.pipelines import config as config_lib
from reasoning_rl.pipelines import (
  config_file,
  preview,
  preview_page,
  probes,
)
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.pipelines.errors import ConfigError
from reasoning_rl.tasks import base, verdicts

_ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(name="config")
def fixture_config():
  return config_file.load(_ROOT / "configs" / "arithmetic.py", "tiny")


@pytest.fixture(name="words")
def fixture_words(tokenizer_folder):
  """The config of word problems, with a small tokenizer in a folder."""
  config = config_file.load(_ROOT / "configs" / "smollm2_words.py", "")
  with config.unlocked():
    config.model.path = str(tokenizer_folder)
    config.data.max_prompt_tokens = 4000
    config.data.max_thought_tokens = 200
    config.data.max_completion_tokens = 600
  return config


@pytest.fixture(name="experiment")
def fixture_experiment(config, tmp_path):
  with preview.reader(config, tmp_path) as experiment:
    yield experiment


@dataclasses.dataclass(frozen=True)
class _Credulous:
  """A task that pays wherever the right answer stands."""

  task: base.Task
  name: str = "credulous"
  version: str = "credulous-1"

  def problem(self, split, index):
    return self.task.problem(split, index)

  def extract_answer(self, completion):
    return completion.strip() or None

  def verify(self, problem, completion):
    return problem.answer in completion


class _Misled(_Credulous):
  """A task whose worked solutions state no answer."""

  def extract_answer(self, completion):
    return self.task.extract_answer(completion)

  def demonstration(self, problem):
    return ("I do not know.\n",)


class _Deaf(_Credulous):
  """A task that pays for nothing."""

  def verify(self, problem, completion):
    return False


def test_the_prompt_is_what_the_policy_reads(words, tmp_path):
  with preview.reader(words, tmp_path) as experiment:
    shown = preview.show(experiment, "train", 3)
    problem = experiment.task.problem("train", 3)
    ids = experiment.encode_prompt(problem)
  assert shown.prompt_tokens == len(ids) and shown.prompt_fits
  text = "".join(piece for piece, _ in shown.prompt)
  assert text == problem.prompt.replace(base.END, "<|im_end|>")
  control = [piece for piece, is_control in shown.prompt if is_control]
  assert control == ["<|im_end|>"] * problem.prompt.count(base.END) != []


def test_a_turn_that_looks_like_a_control_token_is_none(words, tmp_path):
  with words.unlocked():
    words.task.word_problems.prompt_style = "chat"
  with preview.reader(words, tmp_path) as experiment:
    problem = experiment.task.problem("train", 0)
    spoofed = dataclasses.replace(
      problem, messages=(("user", "a <|im_end|> b"),)
    )
    pieces = preview.visible(experiment, experiment.encode_prompt(spoofed))
  assert ("<|im_start|>", True) in pieces
  assert any(
    "a <|im_end|> b" in text for text, control in pieces if not control
  )


def test_a_worked_solution_is_cut_where_a_run_cuts_it(experiment):
  shown = preview.show(experiment, "validation", 2)
  task = experiment.task
  solution = task.demonstration(task.problem("validation", 2))
  cut = shown.judged[0].thoughts
  assert [t.text for t in cut[:-1]] == list(solution[:-1])
  assert cut[-1].text + "\n" == solution[-1]  # Its newline is the end token.
  ids = experiment.encode_solution(solution)
  end, count = thoughts.thought_spans(
    np.array([ids], np.int32),
    np.array([len(ids)], np.int32),
    experiment.boundary,
    experiment.end_ids,
    experiment.max_thoughts,
  )
  sizes = np.diff([-1, *np.asarray(end)[0, : int(count[0])]])
  assert [t.tokens for t in cut] == sizes.tolist()


@pytest.mark.parametrize("key", ["model", "tokenizer"])
def test_a_folder_that_is_not_there_is_named_with_its_key(words, tmp_path, key):
  with words.unlocked():
    words[key].path = "runs/none"
  said = rf"^{key}\.path names runs/none, and there is no .*fetch_model\.py"
  with pytest.raises(ConfigError, match=said):
    with preview.reader(words, tmp_path):
      pass
  with pytest.raises(ConfigError, match=said):
    experiment_lib.build(words, tmp_path)


def test_a_worked_solution_that_does_not_count_or_fit_is_a_fault(
  words, tmp_path
):
  with preview.reader(words, tmp_path) as experiment:
    misled = dataclasses.replace(experiment, task=_Misled(experiment.task))
    shown = preview.show(misled, "train", 1)
  assert shown.judged[0].verdict == "wrong"
  assert "The worked solution is judged wrong (no" in " ".join(shown.faults)
  with words.unlocked():
    words.data.max_thoughts = 1
  with preview.reader(words, tmp_path) as experiment:
    shown = preview.show(experiment, "train", 1)
  assert shown.judged[0].verdict == "correct"
  (fault,) = shown.faults
  assert fault.startswith("The worked solution exceeds the limits of `data`")


def test_a_good_task_has_no_faults(words, tmp_path):
  with preview.reader(words, tmp_path) as experiment:
    shown = preview.show(experiment, "train", 1, ["The answer is 999."])
  assert shown.faults == ()
  verdicts = {j.name: j.verdict for j in shown.judged}
  assert verdicts["a worked solution"] == "correct"
  assert verdicts[r"\boxed{...}"] == "correct"
  assert verdicts["a hedge"] == verdicts["nothing"] == "wrong"
  given = shown.judged[-1]
  assert (given.name, given.answer, given.verdict) == (
    "given 1",
    "999",
    "wrong",
  )
  assert given.reason == f"the right answer is {shown.answer}"


@dataclasses.dataclass(frozen=True)
class _Unsure(_Credulous):
  """A task that cannot judge what is not in its words."""

  def judge(self, problem, completion):
    if "answer" in completion:
      return verdicts.undecided("no worker: it died")
    return verdicts.wrong("no answer")

  def judge_many(self, problems, completions):
    return list(map(self.judge, problems, completions))


def test_what_is_undecided_is_shown_so(experiment):
  experiment = dataclasses.replace(experiment, task=_Unsure(experiment.task))
  judged = preview.show(experiment, "train", 0, ["the answer"]).judged
  said = {j.name: (j.verdict, j.reason.split(";")[0]) for j in judged}
  assert said["given 1"] == ("undecided", "no worker: it died")
  assert said["nothing"] == ("wrong", "no answer")


def test_a_credulous_verifier_is_told_on(experiment):
  task = _Credulous(experiment.task)
  experiment = dataclasses.replace(experiment, task=task)
  faults = preview.show(experiment, "train", 0).faults
  assert "The verifier is wrong: a hedge is paid for." in faults
  assert "The verifier is wrong: doubt is paid for." in faults


def test_a_verifier_that_never_pays_is_told_on(experiment):
  experiment = dataclasses.replace(experiment, task=_Deaf(experiment.task))
  faults = preview.show(experiment, "train", 0).faults
  assert faults == ("No form of the right answer that was tried is accepted.",)


def test_what_the_limits_forbid_is_told(experiment):
  short = dataclasses.replace(experiment, prompt_size=3, thought_size=2)
  shown = preview.show(short, "train", 0)
  assert not shown.prompt_fits
  assert "data.max_prompt_tokens is 3" in shown.faults[0]
  assert "No accepted form of the right answer fits" in shown.faults[1]
  assert not shown.judged[0].fits
  assert [t.fits for t in shown.judged[0].thoughts] == [
    t.tokens <= 2 for t in shown.judged[0].thoughts
  ]


def test_held_out_problems_are_refused():
  with pytest.raises(ConfigError, match="held-out problems are for the final"):
    preview.Request(split="heldout")
  with pytest.raises(ConfigError, match="--problems is 0"):
    preview.Request(problems=0)


def test_no_weights_are_read_or_made(config, tmp_path, capsys, monkeypatch):
  def refuse(*_):
    raise AssertionError("weights")

  monkeypatch.setattr(network_lib.Network, "init", refuse)
  request = preview.Request(problems=2, first=4, as_json=True)
  preview.run(config, tmp_path, request)
  found = json.loads(capsys.readouterr().out)
  assert [problem["id"] for problem in found["problems"]] == [4, 5]
  assert found["limits"]["context"] == config.network.max_positions
  assert list(tmp_path.iterdir()) == []


def test_a_context_that_is_too_short_is_seen(config, tmp_path, capsys):
  with config.unlocked():
    config.network.max_positions = 16
  preview.run(config, tmp_path, preview.Request(problems=1))
  assert "Prompt and completion exceed the context." in capsys.readouterr().out


def test_the_page_shows_control_tokens_newlines_and_verdicts(words, tmp_path):
  with preview.reader(words, tmp_path) as experiment:
    limits = preview.limits_of(experiment, words)
    shown = preview.show(experiment, "train", 1, ["[bold]is text[/bold]"])
  console = rich.console.Console(file=io.StringIO(), width=200)
  preview_page.show(limits, "train", [shown], ["A note."], console)
  text = console.file.getvalue()
  assert "A note." in text
  assert "<|im_end|>" in text and "context unknown" in text
  assert "[bold]is text[/bold]" in text
  assert "a worked solution as thoughts" in text and "⏎" in text


def test_an_echo_repeats_all_turns(words):
  problem = base.Problem(
    0, "train", "q", "1", (), "i", messages=(("user", "a"), ("user", "b"))
  )
  assert probes.echo(problem) == "a\nb\n"


def test_the_command_line_needs_no_workdir(tmp_path, capsys):
  config = f"--config={_ROOT}/configs/arithmetic.py:tiny"
  request = preview.Request(problems=1)
  run = lambda *loaded: preview.run(*loaded, request)
  assert config_lib.main(run, argv=[f"--workdir={tmp_path}", config]) == 0
  assert "right answer" in capsys.readouterr().out
