"""Extract features in a pipeline of Ray Data, to a folder of Parquet files.

    python examples/integrations/ray_data.py OUT.parquet PHOTO...

For those who have such a pipeline, and read from or write to object storage in it;
`kpextract extract --engine ray` does more (docs/scale.md says what). A photo that
cannot be read is a row with its `error`. A second run skips the photos that are done,
by their paths.
"""

import sys

import ray.data
from ray.data.checkpoint import CheckpointConfig

from kpextract.bulk.work import Extraction, Job
from kpextract.formats.parquet_rows import to_table
from kpextract.formats.store import Stamp


class Extract:
    """Keep a model in an actor, and make a table of features of a table of names."""

    def __init__(self):
        options = {"num_threads": 1, "backend": "onnx-cpu"}
        self.worker = Extraction(options, upright=False).open()

    def __call__(self, table):
        jobs = (Job(name, Stamp(0, 0), name) for name in table["name"].to_pylist())
        return to_table(list(self.worker.entries(jobs)), 64, "float32")


def extract(paths, out, workers):
    """Write a row for each path that earlier runs have not written to `out`."""
    ray.data.DataContext.get_current().checkpoint_config = CheckpointConfig(
        id_column="name",
        checkpoint_path=f"{out.rstrip('/')}-checkpoint",
        delete_checkpoint_on_success=False,
    )
    photos = ray.data.from_items([{"name": path} for path in paths])
    photos.repartition(2 * workers).map_batches(
        Extract,
        batch_size=64,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=1,
    ).write_parquet(out)


if __name__ == "__main__":
    ray.init()
    # One CPU stays free to read and write: without it, nothing moves.
    extract(sys.argv[2:], sys.argv[1], int(ray.cluster_resources()["CPU"]) - 1)
