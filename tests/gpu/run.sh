#!/usr/bin/env bash
# Everything that needs an NVIDIA GPU, on a bare machine: Python 3.12, CUDA 13, a driver,
# no network. Run on an NVIDIA H200 (2026-11-26), which TensorRT-RTX 1.7.1 refuses, and
# without TensorRT: the part with engines has not yet run on a GPU.
#
#     tests/gpu/run.sh DIR [WHEELS]
#
# DIR gets the figures as JSON and the log of the tests. WHEELS (default: wheels) is a
# folder of wheels, filled where there is a network:
#
#     pip wheel --no-deps -w wheels .
#     pip download --only-binary=:all: --python-version 3.12 \
#         --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 -d wheels \
#         numpy tqdm opencv-python onnx safetensors pytest cuda-python onnxruntime-gpu \
#         tensorrt-rtx-cu13
#
# What of it is there already may be left out; of kpextract it must hold the wheel. Ends
# with 1 if a test failed. That TensorRT-RTX does not run on this GPU is a finding, in
# DIR/validity.json, and no failure; that there is no GPU is one.
set -euo pipefail
if [ $# -lt 1 ]; then
    echo "usage: tests/gpu/run.sh DIR [WHEELS]" >&2
    exit 2
fi
mkdir -p "$1"
out=$(cd "$1" && pwd)
wheels=$(cd "${2:-wheels}" && pwd)
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT

"$python" -m pip install --quiet --no-index --no-deps --no-compile --target "$site" \
    "$wheels"/*.whl
# Before the checkout, so that the installed kpextract is the one under test; python -m
# would put the checkout first.
export PYTHONPATH=$site:$PWD PYTHONSAFEPATH=1

if ! "$python" -c "import sys; from tests.gpu.conftest import gpu_is_there as there
sys.exit(not there())"; then
    echo "tests/gpu/run.sh: there is no NVIDIA GPU here" >&2
    exit 1
fi
nvidia-smi --query-gpu=name,compute_cap,driver_version,memory.total --format=csv \
    > "$out/gpu.csv" || echo "nvidia-smi does not answer" > "$out/gpu.csv"
"$python" -m kpextract doctor --json > "$out/doctor.json" || true

if "$python" -c "import tensorrt_rtx" 2> "$out/tensorrt_rtx.log"; then
    "$python" -m tests.gpu.validity "$out/validity.json" \
        || echo "validity: failed; the tests say more" >&2
fi

failed=0
"$python" -m pytest tests/gpu -m gpu -rs -p no:cacheprovider --report "$out" \
    2>&1 | tee "$out/tests.log" || failed=1

photo=examples/street-left.jpg
"$python" -m benchmarks.latency "$photo" --extractor small \
    --out "$out/latency-onnx.json" || failed=1
for package in tensorrt tensorrt_rtx; do
    "$python" -c "import $package" 2> /dev/null || continue
    if [ $package = tensorrt_rtx ] && grep -qs '"validity": "INVALID"' "$out/validity.json"
    then
        continue
    fi
    for precision in float32 float16; do
        name=small-$precision-$package
        half=()
        if [ $precision = float16 ]; then half=(--fp16); fi
        "$python" -m kpextract export --model small --max-keypoints 1000 "${half[@]}" \
            --size 640x480 --batch 1 -o "$site/$name.onnx" &&
            "$python" -m kpextract build "$site/$name.onnx" -o "$site/$name.engine" \
                --with $package &&
            "$python" -m benchmarks.latency "$photo" --extractor "$site/$name.engine" \
                --out "$out/latency-$name.json" || failed=1
    done
done
exit $failed
