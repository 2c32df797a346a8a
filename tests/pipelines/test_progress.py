"""What a run prints."""

import io

import rich.console

from reasoning_rl.pipelines import progress


def test_a_line_is_printed_as_it_is():
  out = io.StringIO()
  console = rich.console.Console(file=out, width=200, highlight=False)
  said = "set --config.evaluate.budgets=[1,4] or [red]x[/red] in [/tmp/run]"
  progress.Progress(console).say(said)
  assert out.getvalue() == f"     0 s  {said}\n"
