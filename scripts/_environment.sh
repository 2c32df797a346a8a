# shellcheck shell=bash
# The environment in .venv, sourced by quickstart.sh and test.sh.
#
#   prepare_environment EXTRA   EXTRA is "" or "dev"; sets $python
#
# A stamp in .venv names what was installed, so a second call does nothing. A
# .venv that this file began and did not finish is made anew.

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
environment="$root/.venv"
python="$environment/bin/python"
cache="$root/.cache"

# Keeps freed memory instead of giving it back page by page: a training step of
# a small model on a CPU then takes 0.6 of the time. Changes nothing else.
export GLIBC_TUNABLES="${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}"
export MALLOC_MMAP_MAX_="${MALLOC_MMAP_MAX_:-0}"
export MALLOC_TRIM_THRESHOLD_="${MALLOC_TRIM_THRESHOLD_:-8589934592}"
export MALLOC_TOP_PAD_="${MALLOC_TOP_PAD_:-67108864}"

say() { echo "$*" >&2; }

fail() {
  say "error: $*"
  exit 1
}

# Prints the first interpreter that is new enough; $PYTHON goes before others.
find_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} \
    python3 python3.13 python3.12 python3.11; do
    # An interpreter that is named need not start: it is asked.
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
      >/dev/null 2>&1; then
      echo "$candidate"
      return
    fi
    if [[ -n "${PYTHON:-}" ]]; then
      break
    fi
  done
  fail "Python 3.11 or newer is needed and ${PYTHON:-python3} is not:" \
    "install one, or name it as in PYTHON=/path/to/python3.12 $0"
}

# What the environment depends on: the requirements, the place, the Python.
fingerprint() {
  { cat "$root/pyproject.toml" "$root/setup.py"
    echo "$root"
    "$python" -c 'import sys; print(sys.version)'
  } | cksum
}

# "dev" has all that "" has.
is_installed() {
  local mark
  [[ ! -e "$environment/.unfinished" ]] || return 1
  mark="$(fingerprint 2>/dev/null)" || return 1
  [[ "$(cat "$environment/.installed-dev" 2>/dev/null)" == "$mark" ]] ||
    [[ "$(cat "$environment/.installed-$1" 2>/dev/null)" == "$mark" ]]
}

# Whether prepare_environment has finished in this .venv before.
is_ours() { compgen -G "$environment/.installed-*" >/dev/null; }

# Makes .venv unless there is a working one.
make_environment() {
  local base log="$1"
  if [[ ! -e "$environment/.unfinished" ]] &&
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
      >/dev/null 2>&1 && "$python" -m pip --version >/dev/null 2>&1; then
    # One that somebody made by hand is never marked, so never removed.
    if is_ours; then touch "$environment/.unfinished"; fi
    return
  fi
  base="$(find_python)"
  mkdir -p "$environment"
  touch "$environment/.unfinished"
  # Not `venv --clear`, which would clear the mark as well.
  find "$environment" -mindepth 1 -maxdepth 1 ! -name .unfinished \
    -exec rm -rf {} +
  "$base" -m venv "$environment" >"$log" 2>&1 ||
    fail "making the environment $environment failed (on Debian and Ubuntu" \
      "it takes the package python3-venv): the log is $log"
}

install_package() {
  local extra="$1" log="$cache/install.log"
  say "preparing $environment (a minute or two, once)"
  make_environment "$log"
  # Compiling every module of every package would take half of the time.
  if ! "$python" -m pip install --no-compile \
    --editable "$root${extra:+[$extra]}" >"$log" 2>&1; then
    # pip gave up before it changed anything: what was there still works.
    if is_ours; then rm -f "$environment/.unfinished"; fi
    fail "installing the package failed (is the network there?):" \
      "the log is $log"
  fi
  fingerprint >"$environment/.installed-$extra"
  rm -f "$environment/.unfinished"
}

prepare_environment() {
  is_installed "$1" && return
  mkdir -p "$cache"
  echo '*' >"$cache/.gitignore"
  # Two at once would install over each other.
  if command -v flock >/dev/null; then
    exec 9>"$cache/install.lock"
    flock 9
  fi
  is_installed "$1" || install_package "$1"
  exec 9>&-
}
