"""Measures what a workdir holds and writes the report."""

import sys

from reasoning_rl.pipelines import config, evaluate, stage

if __name__ == "__main__":
  sys.exit(config.main(evaluate.run, stage.USER_ERRORS))
