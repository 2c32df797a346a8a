"""One iteration of policy reinforcement learning."""

import sys

from reasoning_rl.pipelines import config, stage, train_policy

if __name__ == "__main__":
  sys.exit(config.main(train_policy.run, stage.USER_ERRORS))
