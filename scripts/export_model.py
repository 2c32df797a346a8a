"""Exports a policy of a workdir as a Hugging Face folder."""

import argparse
import sys

from reasoning_rl.pipelines import errors, export_model, stage

if __name__ == "__main__":
  parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
  parser.add_argument("--workdir", required=True, help="of a run")
  parser.add_argument("--output", required=True, help="a new folder")
  parser.add_argument(
    "--policy", default="", help='such as "policy_0"; default: the newest'
  )
  parser.add_argument(
    "--dtype",
    default="",
    choices=("float32", "bfloat16"),
    help="default: what the run is in",
  )
  parser.add_argument(
    "--licence", default="", help="where the base model does not name its own"
  )
  flags = parser.parse_args()
  try:
    export_model.run(
      flags.workdir,
      flags.output,
      policy=flags.policy,
      dtype=flags.dtype,
      licence=flags.licence,
    )
  except (errors.UserError, *stage.USER_ERRORS) as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
