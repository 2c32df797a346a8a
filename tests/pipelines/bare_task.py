"""The tiny arithmetic run, its task without all that a task need not have."""

from __future__ import annotations

import dataclasses
import pathlib

from reasoning_rl.pipelines import config_file
from reasoning_rl.pipelines import experiment as experiment_lib

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"


class Bare:
  """A task's problems and its verifier, and nothing else of it."""

  name, version = "bare", "bare-1"

  def __init__(self, task):
    self._task = task

  def problem(self, split, index):
    return self._task.problem(split, index)

  def extract_answer(self, completion):
    return self._task.extract_answer(completion)

  def verify(self, problem, completion):
    return self._task.verify(problem, completion)


def build(directory: pathlib.Path, wrap=Bare) -> experiment_lib.Experiment:
  """Returns the run with `wrap(task)` for its task."""
  config = config_file.load(CONFIGS / "arithmetic.py", "tiny")
  built = experiment_lib.build(config, directory)
  return dataclasses.replace(built, task=wrap(built.task))
