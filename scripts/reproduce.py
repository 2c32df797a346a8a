"""The full tables: the main job under several seeds, merged into one report."""

import sys

from reasoning_rl.pipelines import config, reproduce, stage

if __name__ == "__main__":
  sys.exit(config.main(reproduce.run, stage.USER_ERRORS))
