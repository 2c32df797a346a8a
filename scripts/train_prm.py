"""Trains a PRM and an ORM on the collected trajectories."""

import sys

from reasoning_rl.pipelines import config, stage, train_prm

if __name__ == "__main__":
  sys.exit(config.main(train_prm.run, stage.USER_ERRORS))
