#!/usr/bin/env bash
# Sets everything up and runs the main job.
#
#   ./scripts/quickstart.sh [WORKDIR]   by default runs/quickstart
#
# The last line of the output is the path of the report. The same command
# continues an interrupted run. PYTHON=... chooses the interpreter.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"

if [[ $# -gt 1 || "${1:-}" == -* ]]; then
  fail "usage: $0 [WORKDIR]"
fi
workdir="${1:-$root/runs/quickstart}"
prepare_environment ""
exec "$python" "$root/scripts/run_loop.py" \
  --config="$root/configs/arithmetic.py" --workdir="$workdir"
