#!/usr/bin/env bash
# The tests that need a GPU, on a bare machine: Python 3.12, CUDA 13, NVIDIA's driver and
# no network. Wheels of what wheels.txt lists lie in DIR/wheels, also one of TensorRT if
# it is to be tested; what was found and measured is left in DIR as JSON.
#
#     tests/gpu/run.sh DIR
set -euo pipefail
cd "$(dirname "$0")/../.."
results=$(realpath "${1:?tests/gpu/run.sh DIR: the folder that holds wheels/}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3.12 -m venv "$work/venv"
source "$work/venv/bin/activate"
export PIP_NO_INDEX=1 PIP_FIND_LINKS=$results/wheels PIP_DISABLE_PIP_VERSION_CHECK=1
pip install -q -r tests/gpu/wheels.txt
for package in tensorrt pycuda; do  # not on every machine
    if compgen -G "$results/wheels/$package-*" > /dev/null; then
        pip install -q "$package"
    fi
done
pip install -q --no-build-isolation --no-deps .

kpextract doctor --json > "$results/doctor.json" || true
python tests/gpu/validity.py "$results"

status=0
KPEXTRACT_GPU=$results pytest tests/gpu -rs --junitxml "$results/tests.xml" || status=$?

photo=examples/street-left.jpg
latency() {  # name of the result, extractor
    python -m benchmarks.latency "$photo" --extractor "$2" \
        --out "$results/latency-$1.json" || status=$?
}
latency onnx-cuda small
for package in tensorrt tensorrt_rtx; do
    for kind in dense sparse; do
        name=$package-$kind
        kpextract export --model small --kind $kind --fp16 -o "$work/$name.onnx"
        if kpextract build "$work/$name.onnx" -o "$work/$name.engine" --with $package \
            --size 640x480; then
            latency "$name" "$work/$name.engine"
        fi
    done
done
exit $status
