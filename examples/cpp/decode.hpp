// Decoding of a dense model's maps, as kpextract/decode.py computes it.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "kpextract.hpp"
#include "refinement.hpp"

namespace kpextract {

// Output of a dense graph for one image.
struct Maps {
    cv::Size cells;             // of the image
    const float* score_logits;  // cells
    const float* positions;     // x of all cells, then y; pixels of the input
    cv::Size size;              // of each channel of the descriptor map
    const float* descriptors;   // D channels, not normalized
};

// Decodes image after image of one model.
class Decoder {
public:
    Decoder(int max_keypoints, int descriptor_dim, const Options& options,
            std::optional<Refinement> refinement);

    // Allocates for images of so many cells: decoding them allocates nothing more.
    void reserve(int cells);

    // Returns the best keypoints, valid until the next call. `pixels` is the network's
    // input, CV_8UC3, `image` the size of its part that is not padding; `mask` is empty
    // or of that size.
    Rows decode(const Maps& maps, const cv::Mat& pixels, cv::Size image,
                const cv::Mat& mask);

private:
    // Where a keypoint reads the descriptor map: four entries of a channel, and their
    // shares.
    struct Corners {
        std::size_t row;  // of the descriptors
        std::size_t at[4];
        float share[4];
    };

    void rank(const Maps& maps, cv::Size image, const cv::Mat& mask);
    void thin(const Maps& maps, cv::Size image);
    void place(const Maps& maps, cv::Size image);
    void locate(const Maps& maps);
    void sample(const Maps& maps);
    void normalize();

    std::size_t max_keypoints_, dimension_;
    float min_score_, min_distance_;
    std::optional<Refinement> refinement_;
    std::vector<std::uint64_t> ranked_;   // keys of cells, best first
    std::vector<int> heads_, following_;  // lists of the kept keypoints in each bucket
    std::vector<cv::Point2f> points_;
    std::vector<float> scores_, descriptors_;
    std::vector<int> rows_;         // of each cell, -1 if it has no keypoint
    std::vector<Corners> corners_;  // in the order of the cells
};

}  // namespace kpextract
