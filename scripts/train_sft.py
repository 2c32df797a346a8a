"""Supervised warm-up on the seed demonstrations."""

import sys

from reasoning_rl.pipelines import config, stage, train_sft

if __name__ == "__main__":
  sys.exit(config.main(train_sft.run, stage.USER_ERRORS))
