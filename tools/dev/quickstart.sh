#!/usr/bin/env bash
# Sets up the environment and quantizes a demo detector: bash tools/dev/quickstart.sh [CONFIG]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"
cd "$root"

config=${1:-configs/mse/retinanet_r18_fpn_mse_int8_demo-coco.py}
[[ -f $config ]] || fail "there is no config '$config': give the path of one of configs/*/*_demo-*.py"

case $config in
    *demo-coco*) python tools/dataset_converters/make_demo_data.py coco ;;
    *demo-nus*) python tools/dataset_converters/make_demo_data.py nuscenes ;;
esac
exec python tools/ptq.py "$config"
