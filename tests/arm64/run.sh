#!/usr/bin/env bash
# Run README's first command, the runtime's tests and a comparison with x86 on emulated
# 64-bit ARM. README.md beside this file says what it needs and how to read it.
#
#     tests/arm64/run.sh DIR [PYTEST_ARGUMENT ...]
#
# DIR (about 1 GB) keeps the root file system for the next run, the features and the logs.
# The arguments are tests to run and flags of pytest (default: tests/kpextract), less the
# files that import PyTorch or pycolmap. Ends with 1 if a step failed, 2 if it cannot run here.
set -euo pipefail
if [ $# -lt 1 ]; then
    echo "usage: tests/arm64/run.sh DIR [PYTEST_ARGUMENT ...]" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
repository=$(cd "$here/../.." && pwd)
root=$out/root
python=${PYTHON:-python3} # with kpextract[cpu]; pip downloads with it
suite=${SUITE:-bookworm}
# Of Raspberry Pi 4 and 5; the second has float16 and int8 dot products, as Orins have.
processors=(cortex-a72 cortex-a76)

if [ "$(id -u)" != 0 ]; then
    echo "tests/arm64/run.sh: needs root, for the root file system" >&2
    exit 2
fi
for program in mmdebstrap qemu-aarch64-static unshare git "$python"; do
    if ! command -v "$program" > /dev/null; then
        echo "tests/arm64/run.sh: $program is missing; see tests/arm64/README.md" >&2
        exit 2
    fi
done

# The mirror of this machine's own Debian; another system names one.
mirror() {
    apt-get indextargets --format '$(REPO_URI)' \
        "Created-By: Packages" "Codename: $suite" "Label: Debian" | head -n 1
}

# Unpack only: Python needs no maintainer script, and each would run emulated.
make_root() {
    rm -rf "$root"
    # libgl1 and libglib2.0-0 are opencv-python's; a board without a desktop lacks them.
    mmdebstrap --quiet --variant=extract --architectures=arm64 \
        --include=base-files,base-passwd,bash,coreutils,dash,libgl1,libglib2.0-0,python3,python3-venv \
        "$suite" "$root" "${MIRROR:-$(mirror)}"
    cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
    mkdir -p "$root"/{dev,proc,sys,tmp,root/wheels}
    emulate cortex-a76 python3 -m venv /root/venv
    touch "$out/root.made"
}

# pip of this machine: an emulated one takes minutes for the same files.
install_wheels() {
    local version platforms=() minor
    version=$(basename "$(echo "$root"/usr/bin/python3.[0-9]*[0-9])")
    for minor in 17 24 26 27 28 31 34 35 36; do
        platforms+=(--platform "manylinux_2_${minor}_aarch64")
    done
    local wheels=("$python" -m pip --disable-pip-version-check --quiet)
    local for_arm=(--only-binary=:all: --implementation cp "${platforms[@]}"
        --platform manylinux2014_aarch64 --python-version "${version#python}")
    # What README's command builds kpextract with.
    "${wheels[@]}" download "${for_arm[@]}" --dest "$root/root/wheels" setuptools wheel
    mapfile -t packages < <(cd "$repository" && "$python" "$here/requirements.py" \
        cpu export hdf5 parquet ros)
    "${wheels[@]}" install "${for_arm[@]}" --upgrade --no-compile \
        --target "$root/root/venv/lib/$version/site-packages" \
        "${packages[@]}" hypothesis pandas pytest
    touch "$out/wheels.made"
}

# In namespaces of its own: neither mounts nor the binary format stay on this machine.
emulate() {
    unshare --user --map-root-user --mount bash "$here/enter.sh" "$root" "$@"
}

failed=()
step() {
    local name=$1
    shift
    echo "== $name"
    "$@" 2>&1 | tee "$out/$name.log" || failed+=("$name")
}

readme() {
    local command
    command=$(grep -m 1 '^pip install .* && kpextract detect ' "$repository/README.md")
    emulate cortex-a72 bash -c "cd /root/kpextract && $command"
}

features() {
    emulate "$1" python -P tests/arm64/features.py /root/variants "/root/features-$1" &&
        "$python" "$here/compare.py" "$out/x86" "$root/root/features-$1"
}

# PyTorch for 64-bit ARM is a CUDA build of 400 MB, and its tests are about training.
runtime_tests() {
    local ignored=()
    mapfile -t ignored < <(cd "$repository" && grep -rlE --include='test_*.py' \
        '^(import|from) (torch|training|export|pycolmap)\b' tests/kpextract)
    echo "not run, for want of PyTorch or pycolmap: ${ignored[*]}"
    if [ $# -eq 0 ]; then set -- tests/kpextract; fi
    emulate cortex-a76 python -P -m pytest -p no:cacheprovider -v \
        "${ignored[@]/#/--ignore=}" "$@"
}

# Graphs that decode by themselves, as C++ runs them, and in float16.
export_variants() {
    "$python" -m kpextract export --model small -o "$1/small-sparse.onnx" &&
        "$python" -m kpextract export --model small --kind dense --fp16 \
            -o "$1/small-fp16.onnx"
}

x86() {
    export_variants "$root/root/variants" &&
        "$python" "$here/features.py" "$root/root/variants" "$out/x86"
}

[ -e "$out/root.made" ] || make_root
[ -e "$out/wheels.made" ] || install_wheels
rm -rf "$root/root/kpextract" "$root/root/variants" "$root"/root/features-* "$out/x86"
mkdir "$root/root/kpextract" "$root/root/variants"
git -C "$repository" ls-files -z | tar -C "$repository" --null -T - -c |
    tar -C "$root/root/kpextract" -x

step readme readme
step x86 x86
for processor in "${processors[@]}"; do
    step "features-$processor" features "$processor"
done
step tests runtime_tests "$@"
if [ ${#failed[@]} -gt 0 ]; then
    echo "tests/arm64/run.sh: failed: ${failed[*]}; the logs are in $out" >&2
    exit 1
fi
echo "tests/arm64/run.sh: passed"
