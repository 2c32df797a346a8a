"""What a run prints."""

import io
import pathlib

import rich.console

from reasoning_rl.pipelines import config_file, progress
from reasoning_rl.pipelines import stage as stage_lib

_CONFIGS = pathlib.Path(__file__).parents[2] / "configs"


def test_a_line_is_printed_as_it_is():
  out = io.StringIO()
  console = rich.console.Console(file=out, width=200, highlight=False)
  said = "set --config.evaluate.budgets=[1,4] or [red]x[/red] in [/tmp/run]"
  progress.Progress(console).say(said)
  assert out.getvalue() == f"     0 s  {said}\n"


def test_a_stage_is_announced_by_its_bare_name(tmp_path, capsys):
  config = config_file.load(_CONFIGS / "arithmetic.py", "tiny")
  with stage_lib.open_stage(config, tmp_path / "run") as stage:
    stage.once("collect_0", lambda: {"trajectories": 3})
  first, second = capsys.readouterr().out.splitlines()
  assert first.split(" s  ")[1] == "collect_0"
  assert second.split(" s  ")[1].startswith("collect_0: trajectories 3")
