#!/usr/bin/env bash
# What the tests of the C++ example and of OpenCV's own samples need on Debian, as root:
# compiler and OpenCV are installed; headers and samples go into the folder given
# (KPEXTRACT_CPP of the tests).
set -euo pipefail
folder=$1
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install --no-install-recommends cmake g++ make libopencv-dev \
    nlohmann-json3-dev > /dev/null

# ONNX Runtime: pip's package has the library without headers, and Debian has these from
# trixie on. They come from there, by way of the place where this machine gets its own
# packages, and are unpacked only.
mkdir -p "$folder/lists"
cd "$folder"
(source /etc/os-release
 sed "s/$VERSION_CODENAME/trixie/g" /etc/apt/sources.list.d/debian.sources > trixie.sources)
options=(-qq -o "Dir::Etc::SourceList=$folder/trixie.sources"
         -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$folder/lists"
         -o APT::Sandbox::User=root)
apt-get "${options[@]}" update
apt-get "${options[@]}" download libonnxruntime-dev
dpkg -x libonnxruntime-dev_*.deb .
ln -s usr/include/onnxruntime include

# CUDA's headers; TensorRT's are in no package.
pip install --no-deps --target cuda nvidia-cuda-runtime nvidia-cuda-crt

# OpenCV's Python samples, out of a package of its documents.
apt-get -qq download opencv-doc
dpkg --fsys-tarfile opencv-doc_*.deb | tar -x --wildcards '*/examples/python/*.py'
rm opencv-doc_*.deb
