#!/usr/bin/env bash
# Sets up the environment, then lints and tests: bash tools/dev/run_tests.sh [--lint-only | PYTEST ARGUMENTS]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"
cd "$root"

ruff check .
ruff format --check .
if [[ ${1:-} != --lint-only ]]; then
    exec python -m pytest "$@"
fi
