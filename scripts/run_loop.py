"""The closed loop, from nothing to the report."""

import sys

from reasoning_rl.pipelines import config, loop, stage

if __name__ == "__main__":
  sys.exit(config.main(loop.run, stage.USER_ERRORS))
