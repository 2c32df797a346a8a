"""Tests of making tasks by name."""

import pytest

from reasoning_rl.tasks import arithmetic, base, registry


@pytest.mark.parametrize("name", sorted(registry.GENERATED))
def test_every_task_keeps_the_protocol_and_its_promised_bounds(name):
  task = registry.make(name)
  assert isinstance(task, base.Task) and isinstance(task, base.Bounded)
  assert isinstance(task, base.Oracle) and isinstance(task, base.Demonstrated)
  assert task.name == name and task.version
  for index in range(60):
    problem = task.problem("train", index)
    thoughts = task.demonstration(problem)
    assert problem.id == index and problem.split == "train"
    assert problem.prompt.endswith("\n")
    assert len(problem.prompt) <= task.max_prompt_chars
    assert len(thoughts) <= task.max_thoughts
    assert max(map(len, thoughts)) <= task.max_thought_chars
    assert all(thought.index("\n") == len(thought) - 1 for thought in thoughts)
    assert task.verify(problem, "".join(thoughts))


@pytest.mark.parametrize("name", ["arithmetic", "countdown"])
def test_the_alphabet_of_a_lettered_task_holds_its_texts(name):
  task = registry.make(name)
  assert isinstance(task, base.Lettered)
  assert list(task.alphabet) == sorted(set(task.alphabet))
  assert "\n" in task.alphabet
  for index in range(60):
    problem = task.problem("train", index)
    text = problem.prompt + "".join(task.demonstration(problem))
    assert set(text) <= set(task.alphabet)


def test_free_text_has_no_alphabet_and_no_check_on_the_device():
  task = registry.make("word_problems")
  assert not isinstance(task, base.Lettered)
  assert not isinstance(task, base.DeviceVerified)


@pytest.mark.parametrize("name", sorted(registry.GENERATED))
def test_reachable_is_lost_once_and_exactly_at_the_first_error(name):
  task = registry.make(name)
  for index in range(30):
    problem = task.problem("train", index)
    foreign = task.demonstration(task.problem("train", index + 1))
    thoughts = [*task.demonstration(problem)[:1], *foreign]
    reachable = [
      task.reachable(problem, thoughts[:count])
      for count in range(len(thoughts) + 1)
    ]
    first_error = task.first_error(problem, thoughts)
    assert first_error is not None
    assert reachable == [
      count <= first_error for count in range(len(thoughts) + 1)
    ]


def test_make_passes_options_on():
  task = registry.make("arithmetic", modulus=10, seed=3)
  assert task == arithmetic.Arithmetic(modulus=10, seed=3)


@pytest.mark.parametrize("word", ["arithmetics", "aritmetic", "zzz"])
def test_an_unknown_task_names_the_nearest_and_all(word):
  with pytest.raises(ValueError, match=f"{word}.*did you mean.*countdown"):
    registry.make(word)


def test_an_unknown_option_names_the_nearest():
  with pytest.raises(ValueError, match="'chain_lenght': .* 'chain_length'"):
    registry.make("arithmetic", chain_lenght=3)
