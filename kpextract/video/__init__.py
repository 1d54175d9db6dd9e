"""Read frames from cameras, streams, files and pipes; track keypoints through them."""

from kpextract.video.reader import Video, VideoFrame, open_video
from kpextract.video.sources import RawFormat
from kpextract.video.tracking import Tracker, Tracks

__all__ = ["RawFormat", "Tracker", "Tracks", "Video", "VideoFrame", "open_video"]
