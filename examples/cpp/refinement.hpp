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
    static constexpr int LANES = 16;
    using Lanes = std::array<float, LANES>;  // one value of each point

    struct Layer {
        std::size_t inputs, outputs;
        std::vector<float> weights;  // outputs x inputs
        std::vector<float> biases;
    };

    void cut(const cv::Mat& image, cv::Point2f point, std::size_t lane);
    void normalize();
    void multiply(const Layer& layer, bool last);

    std::vector<Layer> layers_;
    std::vector<Lanes> values_, next_;  // of the layers' units
};

}  // namespace kpextract
