#!/usr/bin/env bash
# What the test of the ROS 2 node needs: ROS's own Python client, from wheels (Linux
# x86-64, Python 3.11 or 3.12), and the kpextract of this checkout, in the virtual
# environment given (KPEXTRACT_ROS of the tests).
set -euo pipefail
folder=$1
root=$(cd "$(dirname "$0")/../.." && pwd)
python3 -m venv "$folder"
# Below 8, 5.4 and 9 are the wheels of one distribution, Jazzy.
"$folder/bin/pip" install "ros-rclpy<8" "ros-rmw-fastrtps-cpp<9" \
    "ros-sensor-msgs<5.4" "ros-diagnostic-msgs<5.4" -e "$root[cpu]"
