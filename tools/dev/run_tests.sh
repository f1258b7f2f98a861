#!/usr/bin/env bash
# Sets up the environment, then lints and tests: bash tools/dev/run_tests.sh [--lint-only | PYTEST ARGUMENTS]
# --slow: the slow tests too; -n NUMBER: processes, by default one for each core.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"
cd "$root"

ruff check .
ruff format --check .
if [[ ${1:-} != --lint-only ]]; then
    # Idle processes take over tests of busy ones; threads would only get in the way of processes.
    export OMP_NUM_THREADS=1
    exec python -m pytest -n auto --dist worksteal "$@"
fi
