"""kpextract as a local feature of hloc; copy to hloc/extractors/kpextract.py.

Add CONFS to `confs` in hloc/extract_features.py. MATCHERS names the matchers of
hloc/match_features.py that suit the descriptors: rows of unit length.
"""

import numpy as np
import torch
from hloc.utils.base_model import BaseModel

from kpextract import Extractor

CONFS = {
    "kpextract": {
        "output": "feats-kpextract-n2048-r1600",
        "model": {"name": "kpextract"},
        "preprocessing": {"grayscale": False, "resize_max": 1600},
    },
}
MATCHERS = ("NN-mutual", "NN-ratio")


class Kpextract(BaseModel):
    """Extractor whose configuration is the options of `kpextract.Extractor`."""

    default_conf = {  # noqa: RUF012  (as in hloc's own extractors)
        "model": "small",
        "backend": "auto",
        "max_keypoints": 2048,
        "min_distance": 3,  # one point per corner, for tracks without doubles
    }
    required_inputs = ["image"]  # noqa: RUF012

    def _init(self, conf):
        options = {name: conf[name] for name in self.default_conf}
        self.extractor = Extractor(**options, color="rgb")

    def _forward(self, data):
        """Return features as lists of one, since hloc has one image per batch.

        Args:
            data: "image", (1, 3, H, W) float RGB in [0, 1].

        Returns:
            "keypoints" (N, 2) in pixels of the image, (0, 0) the center of the top-left
            pixel; "scores" (N,), best first; "descriptors" (D, N).
        """
        (image,) = data["image"]
        pixels = image.permute(1, 2, 0).cpu().numpy()
        features = self.extractor.detect(np.clip(pixels, 0, 1))
        arrays = {
            "keypoints": features.keypoints,
            "scores": features.scores,
            "descriptors": features.descriptors.T,
        }
        return {
            name: [torch.from_numpy(array).to(image.device)]
            for name, array in arrays.items()
        }
