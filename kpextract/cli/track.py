"""Run `kpextract track`."""

import argparse
import json
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from kpextract.cli.arguments import (
    MATCH_OPTIONS,
    add_command,
    add_extractor_options,
    add_mask_option,
    add_match_options,
    size,
    take,
)
from kpextract.cli.exit_codes import INTERRUPTED
from kpextract.cli.outputs import check_outputs, print_written, say
from kpextract.draw import draw_caption, draw_tracks
from kpextract.errors import InvalidOptionError, KpextractError
from kpextract.extractor import Extractor
from kpextract.features import Features
from kpextract.photos import read_mask
from kpextract.stopping import stopped_by_signals
from kpextract.video.feed import VideoFrame
from kpextract.video.meter import PERCENTILES, Meter
from kpextract.video.reader import TIMEOUT, Video, open_video
from kpextract.video.sources import CHANNELS, RawFormat
from kpextract.video.tracking import Tracker, Tracks
from kpextract.video.window import Window
from kpextract.video.writer import VideoFile, check_video_name

FPS = 30.0  # of the written video, if the source does not tell
VIDEO = ("drop", "reconnect", "timeout", "raw", "topic")  # options of `open_video`


def add_parser(commands: Any) -> None:
    command = add_command(
        commands,
        "track",
        track,
        "kpextract track 0 --out t.mp4 --max-keypoints 500",
    )
    add = command.add_argument
    add(
        "source",
        metavar="SOURCE",
        help="video file, recording (.bag, .mcap, .db3 or a folder of ROS 2), folder "
        "or quoted pattern of images, camera number, "
        "rtsp://..., GStreamer pipeline, or - for raw frames on standard input; a path "
        "that exists comes first",
    )
    add(
        "--out",
        type=Path,
        metavar="FILE",
        help="video file with the tracks drawn (default: none)",
    )
    add(
        "--show",
        action="store_true",
        help="window with the tracks drawn; q or Escape ends the run (default: none)",
    )
    add_mask_option(command, of="the frames")
    _add_source_options(command)
    add_match_options(command)
    add_extractor_options(command)


def _add_source_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    unset = argparse.SUPPRESS
    add(
        "--drop",
        action=argparse.BooleanOptionalAction,
        default=unset,
        help="skipping of old frames when late (default: for cameras and streams)",
    )
    add(
        "--reconnect",
        action="store_true",
        default=unset,
        help="repeated attempts to reopen a lost camera or stream (default: stop)",
    )
    add(
        "--timeout",
        type=float,
        default=unset,
        metavar="SECONDS",
        help="seconds without a frame before the source counts as lost "
        f"(default: {TIMEOUT:g})",
    )
    add(
        "--raw",
        type=_raw,
        default=unset,
        metavar="WxH[:PIXELS]",
        help="size and pixels of raw frames, 8 bits per channel: "
        f"{', '.join(CHANNELS)} (default: bgr)",
    )
    add(
        "--topic",
        default=unset,
        help="topic of a recording's images (default: the only one)",
    )


def _raw(text: str) -> RawFormat:
    """Parse "640x480" or "640x480:gray"."""
    sides, _, pixels = text.partition(":")
    try:
        return RawFormat(size(sides), pixels or "bgr")
    except InvalidOptionError as error:  # argparse would show no message of its own
        raise argparse.ArgumentTypeError(str(error)) from error


def track(
    source: str,
    out: Path | None,
    show: bool,
    mask: Path | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Track keypoints through a source; print, write a video or show it on request.

    Ctrl-C, SIGTERM and SIGHUP end the run like the end of the source: the video is
    complete.
    """
    if out:
        check_outputs([out], [Path(source), *([mask] if mask else [])])
        check_video_name(out)
    to_video, to_tracker = take(VIDEO, options), take(MATCH_OPTIONS, options)
    allowed = None if mask is None else read_mask(mask).allowed
    run = Run(Extractor(**options), Tracker(**to_tracker), allowed)
    lost: KpextractError | BrokenPipeError | None = None
    with ExitStack() as stack:
        window = stack.enter_context(Window()) if show else None
        video = stack.enter_context(open_video(source, **to_video))
        stopped = stack.enter_context(stopped_by_signals(video.stop))
        file = stack.enter_context(VideoFile(out, video.fps or FPS)) if out else None
        try:
            run.follow(video, file, window, as_json)
        except (KpextractError, BrokenPipeError) as error:
            lost = error  # what was written until here is worth keeping
    if not isinstance(lost, BrokenPipeError):
        run.summarize(video, as_json)
        if not as_json and file and file.frames:
            print_written(out)
    if lost:
        raise lost
    return INTERRUPTED if stopped and not video.live else 0


class Run:
    """Hold the extractor, tracker and figures of one run."""

    def __init__(
        self, extractor: Extractor, tracker: Tracker, mask: np.ndarray | None = None
    ):
        self._extractor, self._tracker, self._mask = extractor, tracker, mask
        self._meter = Meter()

    def follow(
        self,
        video: Video,
        file: VideoFile | None,
        window: Window | None,
        as_json: bool,
    ) -> None:
        """Track through all frames; print, write and show each as soon as it is done.

        The window ends the run like the end of the source.
        """
        from tqdm import tqdm

        bar = tqdm(total=video.count, unit="frame", disable=True if as_json else None)
        with bar:
            for frame, features in self._with_features(video):
                tracks = self._tracker.update(features)
                milliseconds = self._meter.add(frame.arrived)
                if as_json:
                    facts = _facts(frame, features, tracks)
                    facts |= {"dropped": video.dropped, "ms": round(milliseconds, 2)}
                    print(json.dumps(facts), flush=True)
                if file or window:
                    picture = self._picture(frame, tracks, video.dropped)
                if file:
                    file.write(picture, frame.arrived if video.live else None)
                bar.update()
                if window and not window.show(picture):
                    video.stop()
                    break

    def _with_features(self, video: Video) -> Iterator[tuple[VideoFrame, Features]]:
        """Yield each frame with its features; the stream reads ahead."""
        ahead: deque[VideoFrame] = deque()

        def images() -> Iterator[np.ndarray]:
            for frame in video:
                ahead.append(frame)
                yield frame.image

        for features in self._extractor.stream(images(), self._mask):
            yield ahead.popleft(), features

    def _picture(self, frame: VideoFrame, tracks: Tracks, dropped: int) -> np.ndarray:
        image = self._extractor.pipeline.as_seen(frame.image)
        picture = draw_tracks(image, tracks.ids, self._tracker.tails())
        continued = int((tracks.lengths > 1).sum())
        draw_caption(
            picture,
            f"{_speed(self._meter.recent())}, {continued} of {len(tracks)} keypoints "
            f"tracked, {dropped} dropped",
        )
        return picture

    def summarize(self, video: Video, as_json: bool) -> None:
        """Print a summary of the run, as its last line."""
        figures = self._meter.whole()
        if as_json:
            facts = {
                "source": video.name,
                "frames": self._meter.frames,
                "dropped": video.dropped,
                "tracks": self._tracker.count,
                "extractor": asdict(self._extractor.info),
            }
            print(json.dumps({"summary": facts | figures}), flush=True)
            return
        speed = f", {_speed(figures)}" if self._meter.frames else ""
        say(
            f"{video.name}: {self._meter.frames} frames, {video.dropped} dropped, "
            f"{self._tracker.count} tracks{speed}"
        )


def _speed(figures: dict[str, float]) -> str:
    names = "/".join(f"p{percent}" for percent in PERCENTILES)
    values = "/".join(f"{figures[f'p{percent}_ms']:.0f}" for percent in PERCENTILES)
    return f"{figures['fps']:.1f} FPS, latency {names} {values} ms"


def _facts(frame: VideoFrame, features: Features, tracks: Tracks) -> dict[str, Any]:
    """Return the facts of a frame; each track is [id, x, y, length]."""
    points = features.keypoints.astype(float).round(3).tolist()
    ids, lengths = tracks.ids.tolist(), tracks.lengths.tolist()
    return {
        "frame": frame.index,
        "time": round(frame.arrived, 4),
        "source_time": _rounded(frame.source_time),
        "tracks": [
            [name, x, y, length]
            for name, (x, y), length in zip(ids, points, lengths, strict=True)
        ],
    }


def _rounded(seconds: float | None) -> float | None:
    """Round to microseconds, the precision of a double that counts from 1970."""
    return None if seconds is None else round(seconds, 6)
