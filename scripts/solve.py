"""Solves one held-out problem and prints the answer, the tree and its cost."""

import argparse
import functools
import sys

from reasoning_rl.pipelines import config, solve, stage

if __name__ == "__main__":
  parser = argparse.ArgumentParser(
    description=__doc__, allow_abbrev=False, usage=config.USAGE.format(
      script="solve.py [--problem N] [--method NAME] [--budget N]"
    )
  )  # fmt: skip
  parser.add_argument("--problem", type=int, default=0)
  parser.add_argument("--method", default="beam")
  parser.add_argument("--budget", type=int, default=16)
  flags, rest = parser.parse_known_args()
  run = functools.partial(
    solve.run, index=flags.problem, method=flags.method, budget=flags.budget
  )
  sys.exit(config.main(run, stage.USER_ERRORS, rest))
