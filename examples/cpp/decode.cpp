#include "decode.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

namespace kpextract {
namespace {

constexpr float TINY =
    1e-12F;  // keeps the norm of a zero descriptor from dividing by 0
// Side of the buckets in which neighbors are looked for: slightly more than their
// distance, so that rounding puts no two closer points two buckets apart, and at least
// that of half a cell, since a cell has one point.
constexpr float BUCKET_MARGIN = 1.01F, MIN_BUCKET = 4.0F;
constexpr std::size_t CHANNELS =
    32;  // sampled at once: more would not fit into the cache

// Returns a number that is smaller for a better cell: higher logit, then earlier; NaN
// comes last.
std::uint64_t key_of(float logit, std::size_t cell) {
    std::uint32_t bits = 0;
    if (!std::isnan(logit)) {
        logit += 0.0F;  // -0 is 0
        std::memcpy(&bits, &logit, sizeof bits);
        bits ^= bits >> 31 ? 0xFFFFFFFFU : 0x80000000U;  // in the order of the floats
    }
    return static_cast<std::uint64_t>(~bits) << 32 | cell;
}

std::size_t cell_of(std::uint64_t key) { return key & 0xFFFFFFFFU; }

// Returns a coordinate inside the image; 0 for NaN, since indices are made of it.
float inside(float value, float last) {
    return value > 0.0F ? std::min(value, last) : 0.0F;
}

cv::Point2f point_of(const Maps& maps, std::size_t cell, cv::Size image) {
    const auto cells = static_cast<std::size_t>(maps.cells.area());
    return {inside(maps.positions[cell], static_cast<float>(image.width - 1)),
            inside(maps.positions[cells + cell], static_cast<float>(image.height - 1))};
}

float sigmoid(float logit) { return 1.0F / (1.0F + std::exp(-logit)); }

}  // namespace

Decoder::Decoder(int max_keypoints, int descriptor_dim, const Options& options,
                 std::optional<Refinement> refinement)
    : max_keypoints_(static_cast<std::size_t>(max_keypoints)),
      dimension_(static_cast<std::size_t>(descriptor_dim)),
      min_score_(options.min_score),
      min_distance_(options.min_distance),
      refinement_(std::move(refinement)) {}

void Decoder::reserve(int cells) {
    const auto most = static_cast<std::size_t>(cells);
    const std::size_t rows = std::min(max_keypoints_, most);
    ranked_.reserve(most);
    rows_.reserve(most);
    following_.reserve(rows);
    points_.reserve(rows);
    scores_.reserve(rows);
    corners_.reserve(rows);
    descriptors_.reserve(rows * dimension_);
}

Rows Decoder::decode(const Maps& maps, const cv::Mat& pixels, cv::Size image,
                     const cv::Mat& mask) {
    rank(maps, image, mask);
    if (min_distance_ > 0) thin(maps, image);
    place(maps, image);
    locate(maps);
    sample(maps);
    normalize();
    if (refinement_) {
        (*refinement_)(pixels, points_);
        for (cv::Point2f& point : points_)
            point = {inside(point.x, static_cast<float>(image.width - 1)),
                     inside(point.y, static_cast<float>(image.height - 1))};
    }
    return {points_.empty() ? nullptr : &points_[0].x, scores_.data(),
            descriptors_.data(), static_cast<int>(points_.size())};
}

// Ranks the cells whose points lie inside the image and the mask.
void Decoder::rank(const Maps& maps, cv::Size image, const cv::Mat& mask) {
    const auto cells = static_cast<std::size_t>(maps.cells.area());
    const float right = static_cast<float>(image.width) - 0.5F;
    const float bottom = static_cast<float>(image.height) - 0.5F;
    const float *x = maps.positions, *y = x + cells;
    ranked_.resize(cells);
    std::size_t found = 0;
    for (std::size_t cell = 0; cell < cells; ++cell) {
        const bool outside = (x[cell] < -0.5F) | (x[cell] >= right) |
                             (y[cell] < -0.5F) | (y[cell] >= bottom);
        ranked_[found] = key_of(maps.score_logits[cell], cell);
        found += !outside;
    }
    ranked_.resize(found);
    if (!mask.empty())
        ranked_.erase(std::remove_if(ranked_.begin(), ranked_.end(),
                                     [&](std::uint64_t key) {
                                         const cv::Point2f point =
                                             point_of(maps, cell_of(key), image);
                                         return !mask.at<std::uint8_t>(
                                             cvRound(point.y), cvRound(point.x));
                                     }),
                      ranked_.end());
    if (min_distance_ <= 0 && ranked_.size() > max_keypoints_) {
        // Finding the last one first leaves fewer to sort.
        const auto end = ranked_.begin() + static_cast<std::ptrdiff_t>(max_keypoints_);
        std::nth_element(ranked_.begin(), end, ranked_.end());
        ranked_.erase(end, ranked_.end());
    }
    std::sort(ranked_.begin(), ranked_.end());
}

// Drops points that are closer than the minimum distance to a better one that is kept,
// and those after the budget.
void Decoder::thin(const Maps& maps, cv::Size image) {
    const float side = std::max(BUCKET_MARGIN * min_distance_, MIN_BUCKET);
    const float limit = min_distance_ * min_distance_;
    const int columns = static_cast<int>(static_cast<float>(image.width) / side) + 1;
    const int lines = static_cast<int>(static_cast<float>(image.height) / side) + 1;
    heads_.assign(static_cast<std::size_t>(columns) * static_cast<std::size_t>(lines),
                  -1);
    following_.clear();
    std::size_t kept = 0;
    for (std::size_t i = 0; i < ranked_.size() && kept < max_keypoints_; ++i) {
        const std::uint64_t key = ranked_[i];
        const cv::Point2f point = point_of(maps, cell_of(key), image);
        const int column = static_cast<int>(point.x / side);
        const int line = static_cast<int>(point.y / side);
        const auto head = [&](int l, int c) -> int& {
            return heads_[static_cast<std::size_t>(l) *
                              static_cast<std::size_t>(columns) +
                          static_cast<std::size_t>(c)];
        };
        bool close = false;
        for (int l = std::max(line - 1, 0); l <= std::min(line + 1, lines - 1); ++l)
            for (int c = std::max(column - 1, 0);
                 c <= std::min(column + 1, columns - 1); ++c)
                for (int j = head(l, c); j >= 0;
                     j = following_[static_cast<std::size_t>(j)]) {
                    const cv::Point2f away =
                        point - point_of(maps,
                                         cell_of(ranked_[static_cast<std::size_t>(j)]),
                                         image);
                    close |= away.x * away.x + away.y * away.y < limit;
                }
        if (close) continue;
        following_.push_back(std::exchange(head(line, column), static_cast<int>(kept)));
        ranked_[kept++] = key;
    }
    ranked_.resize(kept);
}

// Computes points and scores, down to the minimum score.
void Decoder::place(const Maps& maps, cv::Size image) {
    points_.clear();
    scores_.clear();
    for (const std::uint64_t key : ranked_) {
        const float score = sigmoid(maps.score_logits[cell_of(key)]);
        if (!(score >= min_score_)) break;  // NaN as well
        scores_.push_back(score);
        points_.push_back(point_of(maps, cell_of(key), image));
    }
}

// Finds out where in the descriptor map each keypoint lies. Keypoints are taken in the
// order of their cells, in which neighbors read neighboring memory.
void Decoder::locate(const Maps& maps) {
    const auto stride =
        static_cast<float>(STRIDE * maps.cells.height / maps.size.height);
    const auto width = static_cast<std::size_t>(maps.size.width);
    rows_.assign(static_cast<std::size_t>(maps.cells.area()), -1);
    for (std::size_t row = 0; row < points_.size(); ++row)
        rows_[cell_of(ranked_[row])] = static_cast<int>(row);
    corners_.clear();
    for (const int row : rows_) {
        if (row < 0) continue;
        const cv::Point2f point = points_[static_cast<std::size_t>(row)];
        const float u = inside((point.x + 0.5F) / stride - 0.5F,
                               static_cast<float>(maps.size.width - 1));
        const float v = inside((point.y + 0.5F) / stride - 0.5F,
                               static_cast<float>(maps.size.height - 1));
        const auto left = static_cast<std::size_t>(u),
                   top = static_cast<std::size_t>(v);
        const std::size_t right = std::min(left + 1, width - 1);
        const std::size_t bottom =
            std::min(top + 1, static_cast<std::size_t>(maps.size.height) - 1);
        const float across = u - static_cast<float>(left);
        const float down = v - static_cast<float>(top);
        corners_.push_back({static_cast<std::size_t>(row),
                            {top * width + left, top * width + right,
                             bottom * width + left, bottom * width + right},
                            {(1 - across) * (1 - down), across * (1 - down),
                             (1 - across) * down, across * down}});
    }
}

// Interpolates the descriptors.
void Decoder::sample(const Maps& maps) {
    const auto area = static_cast<std::size_t>(maps.size.area());
    descriptors_.resize(points_.size() * dimension_);
    for (std::size_t first = 0; first < dimension_; first += CHANNELS) {
        const std::size_t count = std::min(CHANNELS, dimension_ - first);
        for (const Corners& corners : corners_) {
            const float* channel = maps.descriptors + first * area;
            float* value = &descriptors_[corners.row * dimension_ + first];
            for (std::size_t i = 0; i < count; ++i, channel += area)
                value[i] = corners.share[0] * channel[corners.at[0]] +
                           corners.share[1] * channel[corners.at[1]] +
                           corners.share[2] * channel[corners.at[2]] +
                           corners.share[3] * channel[corners.at[3]];
        }
    }
}

// Makes the descriptors unit rows. An overflow must not pass for one.
void Decoder::normalize() {
    constexpr std::size_t parts = 8;  // sums that do not wait for one another
    for (std::size_t row = 0; row < points_.size(); ++row) {
        float* values = &descriptors_[row * dimension_];
        float sums[parts] = {}, sum = 0.0F;
        std::size_t i = 0;
        for (; i + parts <= dimension_; i += parts)
            for (std::size_t j = 0; j < parts; ++j)
                sums[j] += values[i + j] * values[i + j];
        for (; i < dimension_; ++i) sum += values[i] * values[i];
        for (const float part : sums) sum += part;
        const float norm = std::sqrt(sum);
        const float scale = std::isinf(norm) ? std::numeric_limits<float>::quiet_NaN()
                                             : 1.0F / std::max(norm, TINY);
        for (i = 0; i < dimension_; ++i) values[i] *= scale;
    }
}

}  // namespace kpextract
