#!/usr/bin/env bash
# What the tests of the browser example need on Debian, as root: Node and Chromium are
# installed; the packages of examples/web go into the folder given (KPEXTRACT_WEB of the
# tests).
set -euo pipefail
folder=$1
example=$(cd "$(dirname "$0")/../../examples/web" && pwd)
export DEBIAN_FRONTEND=noninteractive
missing=()
for program in chromium nodejs npm; do
    command -v "${program/nodejs/node}" > /dev/null || missing+=("$program")
done
if ((${#missing[@]})); then
    apt-get -qq update
    apt-get -qq install --no-install-recommends "${missing[@]}" > /dev/null
fi
mkdir -p "$folder"
cp "$example"/package.json "$example"/package-lock.json "$example"/.npmrc "$folder"
cd "$folder"
npm ci --no-audit --no-fund --silent
