"""Log frames, keypoints, tracks, counts and latency to the viewer Rerun.

    python examples/python/rerun_tracks.py drive.mp4 --out tracks.rrd

Needs `pip install rerun-sdk` (500 MB). Without --out a viewer opens; `rerun tracks.rrd`
opens a file. Rerun's viewer reports its use unless `rerun analytics disable` was run.
"""

import argparse
import time
from contextlib import ExitStack

import numpy as np

from kpextract import Extractor
from kpextract.video import Tracker, open_video

TAIL = 15  # frames
HALF = 0.5  # Rerun's (0, 0) is the corner of the top-left pixel, not its center


def main():
    parser = argparse.ArgumentParser(
        description="Log frames, keypoints, tracks, counts and latency to Rerun."
    )
    parser.add_argument("source", nargs="?", default="examples", help="as for track")
    help_text = "keypoints per frame (default: %(default)s)"
    parser.add_argument("--max-keypoints", type=int, default=500, help=help_text)
    parser.add_argument("--out", metavar="FILE", help=".rrd file (default: a viewer)")
    options = parser.parse_args()
    import rerun  # after --help, which works without it

    rerun.init("kpextract", spawn=not options.out, default_blueprint=layout(rerun))
    if options.out:
        rerun.save(options.out, default_blueprint=layout(rerun))
    extractor = Extractor(max_keypoints=options.max_keypoints, min_distance=8)
    tracker = Tracker(tail=TAIL)
    with ExitStack() as stack:
        for frame in stack.enter_context(open_video(options.source)):
            started = time.perf_counter()
            features = extractor.detect(frame.image)
            detected = time.perf_counter()
            tracks = tracker.update(features)
            tracked = time.perf_counter()
            rerun.set_time("frame", sequence=frame.index)
            log_picture(rerun, frame.image, features, tracks, tracker.tails())
            for name, value in {
                "counts/keypoints": len(features),
                "counts/tracked": int((tracks.lengths > 1).sum()),
                "milliseconds/detect": 1000 * (detected - started),
                "milliseconds/track": 1000 * (tracked - detected),
            }.items():
                rerun.log(name, rerun.Scalars(value))
    print(f"{frame.index + 1} frames, {tracker.count} tracks")


def layout(rerun):
    """Return the views: the picture, and beside it counts and milliseconds."""
    views = rerun.blueprint
    plots = [
        views.TimeSeriesView(origin=name, name=name)
        for name in ("counts", "milliseconds")
    ]
    picture = views.Spatial2DView(origin="camera", name="camera")
    return views.Horizontal(picture, views.Vertical(*plots), column_shares=[2, 1])


def log_picture(rerun, image, features, tracks, tails):
    """Log a frame, its keypoints and the tails of its tracks, colored by track."""
    rerun.log("camera", rerun.Image(image, color_model="BGR").compress())
    points = features.keypoints + HALF
    # Class ids get a color each, the same in every frame.
    kinds = (tracks.ids % 2**16).astype(np.uint16)
    rerun.log("camera/keypoints", rerun.Points2D(points, class_ids=kinds, radii=1.5))
    strips, owners = [], []
    for row in np.flatnonzero(tracks.lengths > 1):
        seen = tails[np.isfinite(tails[:, row, 0]), row]
        strips.append(seen + HALF)
        owners.append(kinds[row])
    rerun.log("camera/tracks", rerun.LineStrips2D(strips, class_ids=owners, radii=0.5))


if __name__ == "__main__":
    main()
