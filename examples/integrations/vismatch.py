"""kpextract as a matcher of vismatch; copy to vismatch/im_models/kpextract.py.

Add "kpextract" to `available_models` in vismatch/__init__.py, and to its `get_matcher`:

    elif "kpextract" in matcher_name:
        from vismatch.im_models.kpextract import KpextractMatcher
        return KpextractMatcher(device, **kwargs)
"""

import numpy as np
from vismatch import BaseMatcher

from kpextract import Extractor, match


class KpextractMatcher(BaseMatcher):
    """Keypoints of `kpextract.Extractor`, matched to mutual nearest neighbors.

    Args:
        device: "cpu", or any other for the best backend that is installed.
        max_num_keypoints: budget per image.
        model: bundled name, or path of an .onnx or .engine file.
    """

    def __init__(self, device="cpu", max_num_keypoints=2048, model="small", **kwargs):
        super().__init__(device, **kwargs)
        self.extractor = Extractor(
            model,
            backend="onnx-cpu" if device == "cpu" else "auto",
            max_keypoints=max_num_keypoints,
            min_distance=3,  # one point per corner
            color="rgb",
        )

    def _detect(self, image):
        """Return the features of a (3, H, W) float RGB tensor in [0, 1].

        Bicubic resizing exceeds that range a little.
        """
        pixels = image.permute(1, 2, 0).cpu().numpy()
        return self.extractor.detect(np.clip(pixels, 0, 1))

    def _forward(self, img0, img1):
        """Return matched points, all points, descriptors and cosine similarities."""
        one, other = self._detect(img0), self._detect(img1)
        first, second = match(one, other).T
        cosines = (one.descriptors[first] * other.descriptors[second]).sum(axis=1)
        return (
            one.keypoints[first],
            other.keypoints[second],
            one.keypoints,
            other.keypoints,
            one.descriptors,
            other.descriptors,
            cosines,
        )
