"""What the README shows exists and runs."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

from reasoning_rl.pipelines import config as config_lib
from reasoning_rl.tasks import registry

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def listed_files():
  """Returns the paths in the file tree, from its indentation."""
  tree = README.split("## The files", 1)[1].split("```")[1]
  folders, files = [], set()
  for line in filter(None, tree.splitlines()):
    name = line.split()[0]
    depth = (len(line) - len(line.lstrip())) // 2
    folders = [*folders[:depth], name]
    if not name.endswith("/"):
      files.add("".join(folders))
  return files


def test_file_tree_is_that_of_the_checkout():
  folders = ("configs", "scripts", "benchmarks", "reasoning_rl")
  present = {
    path.relative_to(ROOT).as_posix()
    for folder in folders
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".py", ".sh") and path.name != "__init__.py"
  }
  listed = listed_files()
  assert {name for name in listed if name.startswith(folders)} == present
  assert all((ROOT / name).is_file() for name in listed)


def test_links_lead_to_files():
  targets = re.findall(r"\]\((?!https?:)([^)#]+)", README)
  assert targets
  assert [name for name in targets if not (ROOT / name).is_file()] == []


def test_overrides_shown_are_accepted():
  overrides = re.findall(r"--config\.[\w.]+=[^\s`]+", README)
  assert len(overrides) >= 5
  config_lib.load(
    [f"--config={ROOT}/configs/countdown.py", "--workdir=runs/c", *overrides]
  )


def test_the_config_of_a_task_of_your_own_is_one(tmp_path):
  (source,) = re.findall(r"```\n(from \. import [^`]*)```", README)
  configs = tmp_path / "configs"
  shutil.copytree(ROOT / "configs", configs)
  rows = [{"question": f"{n} + 1?", "answer": n + 1} for n in range(400)]
  own = tmp_path / "mine.jsonl"
  own.write_text("".join(json.dumps(row) + "\n" for row in rows))
  (configs / "mine.py").write_text(source.replace("mine.jsonl", str(own)))
  arguments = [f"--config={configs / 'mine.py'}", f"--workdir={tmp_path}"]
  config, _ = config_lib.load(arguments)
  task = registry.make("jsonl", **config.task.jsonl.to_dict())
  wanted = config.evaluate
  assert len(task.items("heldout")) >= wanted.problems
  most = max(wanted.validation_problems, config.sft.validation_problems)
  assert len(task.items("validation")) >= most
  problem = task.problem("heldout", wanted.first_problem)
  assert task.verify(problem, f"The answer is {problem.answer}.\n")
  data = config.data
  assert data.max_completion_tokens <= data.max_prompt_tokens
  assert data.max_thought_tokens <= data.max_completion_tokens


def test_search_with_a_policy_of_your_own_runs():
  source = re.search(r"```python\n(.*?)```", README, re.DOTALL).group(1)
  environment = os.environ | {
    "JAX_PLATFORMS": "cpu",
    "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache" / "jax"),
    "PYTHONPATH": str(ROOT),
  }
  done = subprocess.run(
    [sys.executable, "-W", "error", "-c", source],
    env=environment,
    check=True,
    capture_output=True,
    text=True,
  )
  # One line per solution: tokens that end in the end token, scores, visits.
  assert re.match(r"\((\d+, )+2\) \(0\.\d+", done.stdout)
