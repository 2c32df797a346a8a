"""Holds a workdir's PRM against people's marks of first wrong steps (CHAMP)."""

import argparse
import functools
import sys

from reasoning_rl.pipelines import champ, config, stage

if __name__ == "__main__":
  parser = argparse.ArgumentParser(
    description=__doc__, allow_abbrev=False, usage=config.USAGE.format(
      script="evaluate_prm.py [--data FILE] [--problems N]"
    )
  )  # fmt: skip
  parser.add_argument("--data", default="", help="in CHAMP's form; its package")
  parser.add_argument("--problems", type=int, default=0, help="0: all")
  flags, rest = parser.parse_known_args()
  run = functools.partial(
    champ.run, data=flags.data, most_problems=flags.problems
  )
  sys.exit(config.main(run, stage.USER_ERRORS, rest))
