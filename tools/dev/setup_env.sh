# Sourced by quickstart.sh and run_tests.sh: makes the virtual environment .venv (or $MMPTQ_VENV)
# with the versions of tools/dev/requirements.txt, or reuses it, and puts it first on PATH.
# The stamp file is written last, so an interrupted installation is never taken for a complete one.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
venv=${MMPTQ_VENV:-$root/.venv}
stamp=$venv/.mmptq-complete
unfinished=$venv/.mmptq-unfinished
log=$venv/install.log

fail() { echo "error: $1" >&2; exit 1; }

fingerprint() {
    { cat "$root"/{setup.py,pyproject.toml,tools/dev/requirements.txt,tools/dev/setup_env.sh}; echo "$root"; } |
        sha256sum
}

# Runs a command quietly; a failure shows the end of its output.
step() {
    local message=$1 start=$SECONDS
    shift
    echo "  $message ..."
    if ! "$@" >>"$log" 2>&1; then
        tail -n 15 "$log" >&2
        fail "'$message' failed: the last lines are above, all of them in $log"
    fi
    echo "    done in $((SECONDS - start)) s"
}

find_python() {
    local candidate
    for candidate in python3.11 python3.12 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' \
            2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "Python 3.11 or 3.12 is needed and not on PATH: on Debian run 'apt-get install python3 python3-venv python3-dev'"
}

has_gpu() { command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q GPU; }

check_disk() {
    local gigabytes=4 free
    if has_gpu; then gigabytes=12; fi
    free=$(df --output=avail -k "$(dirname "$venv")" | tail -n 1)
    ((free > gigabytes * 1024 * 1024)) ||
        fail "$gigabytes GB of disk space are needed and $((free / 1024 / 1024)) GB are free in $(dirname "$venv"): free some or set MMPTQ_VENV to a folder on a larger disk"
}

make_venv() {
    local python
    if [[ -e $venv && ! -e $stamp && ! -e $unfinished ]]; then
        fail "$venv exists and was not made by this script: move it away or set MMPTQ_VENV to another folder"
    fi
    if [[ ! -e $stamp ]]; then # nothing there, or the rest of an interrupted installation
        python=$(find_python)
        rm -rf "$venv"
        mkdir -p "$venv"
        touch "$unfinished"
        "$python" -m venv "$venv" >"$log" 2>&1 ||
            fail "'$python -m venv' failed: on Debian run 'apt-get install python3-venv' (details in $log)"
    fi
    touch "$unfinished"
    rm -f "$stamp"
}

pip_install() { "$venv/bin/python" -m pip install --disable-pip-version-check --no-input "$@"; }

requirement() { grep -E "^$1==" "$root/tools/dev/requirements.txt"; }

# mmcv publishes no wheel for this torch: one that was built before may lie in pip's find-links.
mmcv_has_wheel() {
    pip_install --dry-run --no-deps --only-binary mmcv "$(requirement mmcv)" >>"$log" 2>&1
}

check_compiler() {
    command -v g++ >/dev/null ||
        fail "mmcv has to be compiled and there is no g++: on Debian run 'apt-get install g++'"
    "$venv/bin/python" -c 'import sysconfig; open(sysconfig.get_path("include") + "/Python.h")' \
        2>/dev/null ||
        fail "mmcv has to be compiled and Python.h is missing: on Debian run 'apt-get install python3-dev'"
    if has_gpu && ! command -v nvcc >/dev/null; then
        fail "mmcv has to be compiled for your GPU and there is no nvcc: install the CUDA toolkit that fits torch"
    fi
}

mmcv_works() {
    "$venv/bin/python" - >>"$log" 2>&1 <<'PYTHON'
import torch
from mmcv.ops import get_compiling_cuda_version
assert not torch.cuda.is_available() or get_compiling_cuda_version() != 'not available'
PYTHON
}

install_mmcv() {
    if $mmcv_wheel; then
        step 'mmcv (prebuilt)' pip_install --no-deps --only-binary mmcv "$(requirement mmcv)"
        if mmcv_works; then return; fi
        echo '  the prebuilt mmcv does not fit this torch or this GPU'
        check_compiler
    fi
    echo '  mmcv is compiled now, which takes 20 to 40 minutes on 2 cores, once'
    MMCV_WITH_OPS=1 CFLAGS=-g0 MAX_JOBS=$(nproc) step 'mmcv (from source)' pip_install --no-deps \
        --force-reinstall --no-binary mmcv --no-build-isolation "$(requirement mmcv)"
    mmcv_works || fail "mmcv was compiled and does not load: run 'pip cache remove mmcv' and try again (details in $log)"
}

install() {
    echo "Setting up $venv (once, some minutes)"
    check_disk
    make_venv
    mmcv_wheel=true
    if ! mmcv_has_wheel; then mmcv_wheel=false && check_compiler; fi
    step 'torch' pip_install -c "$root/tools/dev/requirements.txt" torch setuptools wheel ninja
    step 'the other packages' pip_install --no-deps -r <(grep -v '^mmcv==' "$root/tools/dev/requirements.txt")
    install_mmcv
    step 'mmptq' pip_install --no-deps --no-build-isolation -e "$root"
    step 'a first import' "$venv/bin/python" -c 'import mmptq, mmdet3d, spconv.pytorch'
    fingerprint >"$unfinished"
    mv "$unfinished" "$stamp"
}

# The kernels of the sparse engine: once for each state of their sources.
build_sparse_engine() {
    [[ -x $venv/bin/python ]] || return 0
    "$venv/bin/python" "$root/mmptq/deploy/sparse_engine/build.py" >/dev/null ||
        echo '  sparse voxel encoders stay in PyTorch (see the message above)' >&2
}

is_current() { [[ -e $stamp && $(<"$stamp") == "$(fingerprint)" ]]; }

if ! is_current; then
    mkdir -p "$(dirname "$venv")"
    exec 9>"$venv.lock"
    flock 9 # a second script waits here for the first one
    is_current || install
    exec 9>&-
fi
build_sparse_engine
export VIRTUAL_ENV=$venv PATH=$venv/bin:$PATH
# mmengine uses what setuptools is about to remove; the pin of setuptools takes care of it.
export PYTHONWARNINGS=${PYTHONWARNINGS:+$PYTHONWARNINGS,}ignore:pkg_resources\ is\ deprecated:UserWarning
