#!/usr/bin/env bash
# The full tables of the README: three seeds, 500 held-out problems, budgets 1
# to 64, every baseline. Takes hours; the same command continues.
#
#   ./scripts/reproduce.sh [WORKDIR]   by default runs/reproduce
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"

if [[ $# -gt 1 || "${1:-}" == -* ]]; then
  fail "usage: $0 [WORKDIR]"
fi
workdir="${1:-$root/runs/reproduce}"
prepare_environment ""
for task in arithmetic countdown; do
  "$python" "$root/scripts/reproduce.py" \
    --config="$root/configs/$task.py:reproduce" --workdir="$workdir/$task"
done
