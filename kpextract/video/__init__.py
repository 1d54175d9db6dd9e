"""Read frames from cameras, streams, files and pipes; track keypoints through them."""

from kpextract.video.feed import VideoFrame
from kpextract.video.reader import Video, open_video
from kpextract.video.sources import RawFormat
from kpextract.video.tracking import Tracker, Tracks

__all__ = ["RawFormat", "Tracker", "Tracks", "Video", "VideoFrame", "open_video"]
