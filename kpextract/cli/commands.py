"""Name the commands, each in a module of its name that is imported when it runs."""

# Summaries for --help, in its order. Not docstrings, which python -OO removes.
COMMANDS = {
    "detect": "Detect keypoints in photos; draw and save them on request.",
    "match": (
        "Match two photos and count the matches that agree on one geometry, or match "
        "many pairs of an output of kpextract extract."
    ),
    "track": (
        "Track keypoints through a video, recording, camera, stream, folder or raw "
        "frames."
    ),
    "extract": (
        "Extract features of many photos, videos and recordings into one output; a "
        "second run continues it."
    ),
    "map": "Reconstruct cameras and 3D points of matched photos with COLMAP.",
    "report": (
        "Describe the output of `kpextract extract` in one HTML file, the worst "
        "images first."
    ),
    "export": "Export a variant of a model: sparse, fixed sizes, float16 or int8.",
    "build": "Build a TensorRT engine of a model, and its sidecar.",
    "verify": "Compare a model or engine with a reference; exit code 1 if they differ.",
    "bench": "Time detection by stage, with throughput and memory.",
    "demo": "Draw keypoints, matches beside ORB and tracks of bundled photos.",
    "doctor": "Check what is installed and works, and say how to install the rest.",
    "info": "Print versions, bundled models and backends.",
}
