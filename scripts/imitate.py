"""Imitation of the right solutions that were collected."""

import sys

from reasoning_rl.pipelines import config, imitate, stage

if __name__ == "__main__":
  sys.exit(config.main(imitate.run, stage.USER_ERRORS))
