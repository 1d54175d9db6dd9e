#!/usr/bin/env bash
# Run the tests that need no training with the oldest and the newest packages that
# setup.cfg allows: tests/bounds.sh oldest python3.10, tests/bounds.sh newest python3.13.
# The oldest versions are read from setup.cfg, where the bounds are.
set -euo pipefail
end=$1 python=$2
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

lowest() { sed -n "s/^ *\($1\)>=\([0-9.]*\)$/\1==\2.*/p" "$root/setup.cfg" | head -n 1; }

"$python" -m venv "$work/venv"
pip=("$work/venv/bin/pip" --disable-pip-version-check --quiet install)
packages=()
for name in numpy tqdm onnxruntime opencv-python onnx; do
    if [ "$end" = oldest ]; then packages+=("$(lowest "$name")"); else packages+=("$name"); fi
done
"${pip[@]}" "${packages[@]}" pytest
git clone --quiet "$root" "$work/checkout"
cd "$work/checkout"
"${pip[@]}" --no-deps .
mv kpextract source # the installed package is tested, not the folder
tests=tests/kpextract
OMP_NUM_THREADS=1 "$work/venv/bin/python" -m pytest -p no:cacheprovider \
    $tests/test_extractor.py $tests/test_features.py $tests/test_decode.py \
    $tests/test_image.py $tests/test_matching.py $tests/test_photos.py \
    $tests/test_pipeline.py $tests/cli/test_cli.py \
    $tests/test_feature2d.py $tests/export/test_damaged.py # both export, with onnx
