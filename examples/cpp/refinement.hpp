// Learned sub-pixel refinement of keypoints, as kpextract/refinement.py computes it.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include <opencv2/core.hpp>

namespace kpextract {

// A small network that reads the patch around a point and moves it by at most 2 px.
class Refinement {
public:
    // Decodes the entry kpextract.refinement of a dense model's metadata. Throws
    // ModelError, which names the file `path`.
    Refinement(const std::string& text, const std::string& path);

    // Moves `points`, in pixels of `image` (CV_8UC3, BGR).
    void operator()(const cv::Mat& image, std::vector<cv::Point2f>& points);

private:
    static constexpr int SIDE = 13;  // pixels of a patch
    static constexpr int AREA = SIDE * SIDE;
    // Points that go through the layers together: each weight is read once for all.
    static constexpr int LANES = 32;
    using Lanes = std::array<float, LANES>;  // one value of each point
    static constexpr std::size_t GROUP = 4;  // outputs that are computed at once

    struct Layer {
        std::size_t inputs, groups;
        std::vector<float> weights;  // groups x inputs x GROUP; 0 beyond the outputs
        std::vector<float> biases;   // groups x GROUP
    };

    void cut(const cv::Mat& image, cv::Point2f point, std::size_t lane);
    void normalize();
    void multiply(const Layer& layer, bool last);

    static Layer pack(const std::vector<float>& weights,
                      const std::vector<float>& biases);

    std::vector<Layer> layers_;
    std::vector<Lanes> values_, next_;  // of the layers' units
};

}  // namespace kpextract
