"""Extract features in a pipeline of Ray Data, to a folder of Parquet files.

    python examples/integrations/ray_data.py FOLDER OUT.parquet

For those who have such a pipeline, or whose photos are in object storage: Ray reads and
writes `s3://` and `gs://`. `kpextract extract --engine ray` does more (docs/scale.md
says what). A photo that cannot be read is a row with its `error`. A second run skips
the photos that are done, by their paths.
"""

import sys

import cv2
import numpy as np
import ray.data
from ray.data.checkpoint import CheckpointConfig

from kpextract.bulk.work import Extraction, Job
from kpextract.formats.parquet_rows import to_table
from kpextract.formats.store import Stamp

STORED = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION


class Extract:
    """Keep a model in an actor, and make a table of features of a table of photos."""

    def __init__(self):
        options = {"num_threads": 1, "backend": "onnx-cpu"}
        self.worker = Extraction(options, upright=False).open()

    def __call__(self, table):
        paths = table["path"].to_pylist()
        files = [np.frombuffer(file.as_py(), np.uint8) for file in table["bytes"]]
        images = [cv2.imdecode(file, STORED) if file.size else None for file in files]
        jobs = [
            Job(path, Stamp(len(file), 0), path, image, error="not an image")
            if image is None
            else Job(path, Stamp(len(file), 0), path, image)
            for path, file, image in zip(paths, files, images, strict=True)
        ]
        rows = to_table(list(self.worker.entries(jobs)), 64, "float32")
        return rows.append_column("path", table["path"])


def extract(paths, out, workers):
    """Write a row for each photo that earlier runs have not written to `out`.

    Args:
        paths: a folder, or a list of files.
    """
    ray.data.DataContext.get_current().checkpoint_config = CheckpointConfig(
        id_column="path",
        checkpoint_path=f"{out.rstrip('/')}-checkpoint",
        delete_checkpoint_on_success=False,
    )
    ray.data.read_binary_files(paths, include_paths=True).map_batches(
        Extract,
        batch_size=64,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=1,
    ).write_parquet(out)


if __name__ == "__main__":
    ray.init()
    # One CPU stays free to read and write: without it, nothing moves.
    extract(sys.argv[1], sys.argv[2], int(ray.cluster_resources()["CPU"]) - 1)
