"""Samples, verifies and labels solutions of the newest policy."""

import sys

from reasoning_rl.pipelines import collect, config, stage

if __name__ == "__main__":
  sys.exit(config.main(collect.run, stage.USER_ERRORS))
