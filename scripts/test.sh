#!/usr/bin/env bash
# Sets everything up and runs lint and the tests.
#
#   ./scripts/test.sh [--slow] [PYTEST ARGUMENTS]
#
# --slow runs the tests that take minutes as well.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"

arguments=()
for argument in "$@"; do
  if [[ "$argument" == --slow ]]; then
    arguments+=(-m "slow or not slow")
  else
    arguments+=("$argument")
  fi
done
prepare_environment dev
cd "$root"
"$python" -m ruff check .
"$python" -m ruff format --check .
# A file's tests share what they compile, so they go to one worker.
exec "$python" -m pytest -n 2 --dist loadfile --max-worker-restart 0 ${arguments[@]+"${arguments[@]}"}
