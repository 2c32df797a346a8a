"""Measures whether reinforcement learning can learn from a policy's samples."""

import sys

from reasoning_rl.pipelines import config, preflight, stage

if __name__ == "__main__":
  sys.exit(config.main(preflight.run, stage.USER_ERRORS))
