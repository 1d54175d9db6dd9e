// Converts the caller's image to the network's input, and its rows to features.
#include "kpextract.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

namespace kpextract {
namespace {

std::string text(cv::Size size) {
    return std::to_string(size.width) + "x" + std::to_string(size.height);
}

int round_up(int side) { return (side + STRIDE - 1) / STRIDE * STRIDE; }

void check(const cv::Mat& image) {
    const bool known =
        (image.depth() == CV_8U || image.depth() == CV_16U) &&
        (image.channels() == 1 || image.channels() == 3 || image.channels() == 4);
    if (!image.empty() && image.dims == 2 && known && image.rows >= MIN_SIDE &&
        image.cols >= MIN_SIDE)
        return;
    const std::string given =
        image.empty() ? "an empty one. Did cv::imread find the file?"
                      : text(image.size()) + " " + cv::typeToString(image.type()) +
                            ". Convert it with cv::Mat::convertTo or cv::cvtColor, or "
                            "pass a larger image.";
    throw InvalidImageError(
        "image must be grey, BGR or BGRA, CV_8U or CV_16U, at least 16 pixels a side, "
        "got " +
        given);
}

void check_mask(const cv::Mat& mask, cv::Size image, bool taken) {
    if (mask.empty()) return;
    if (!taken)
        throw InvalidImageError(
            "this model has no mask input, so a mask would come too late for its "
            "budget. Export it with kpextract export --mask.");
    if (mask.type() != CV_8UC1 || mask.size() != image)
        throw InvalidImageError(
            "mask must be CV_8UC1 of the image's size " + text(image) + ", got " +
            text(mask.size()) + " " + cv::typeToString(mask.type()) +
            ". Non-zero marks where keypoints are allowed; take one channel of a color "
            "mask, and convert the type with cv::Mat::convertTo.");
}

std::uint8_t to_8_bits(std::uint8_t value) { return value; }
// Exact at both ends: 65535 = 255 * 257.
std::uint8_t to_8_bits(std::uint16_t value) {
    return static_cast<std::uint8_t>((value + 128U) / 257U);
}

// Copies `from` as BGR bytes to the top left of `padded` pixels; its last column and row
// are repeated, since the detector would respond to a black margin.
template <class T>
void fill(const cv::Mat& from, cv::Size padded, std::uint8_t* to) {
    const int channels = from.channels();
    const std::size_t row_size = static_cast<std::size_t>(padded.width) * 3;
    for (int y = 0; y < from.rows; ++y) {
        std::uint8_t* target = to + row_size * static_cast<std::size_t>(y);
        std::uint8_t* const end = target + row_size;
        const T* pixel = from.ptr<T>(y);
        if (std::is_same_v<T, std::uint8_t> && channels == 3) {
            const std::size_t size = static_cast<std::size_t>(from.cols) * 3;
            std::memcpy(target, pixel, size);
            target += size;
        } else {
            for (int x = 0; x < from.cols; ++x, pixel += channels)
                for (int c = 0; c < 3; ++c)
                    *target++ = to_8_bits(pixel[channels == 1 ? 0 : c]);
        }
        for (; target < end; ++target) *target = target[-3];
    }
    const std::uint8_t* last = to + row_size * static_cast<std::size_t>(from.rows - 1);
    for (int y = from.rows; y < padded.height; ++y)
        std::memcpy(to + row_size * static_cast<std::size_t>(y), last, row_size);
}

}  // namespace

void set_rows(Layout& layout, std::int64_t rows, std::int64_t length,
              const std::string& path) {
    constexpr std::int64_t most = 1 << 28;  // values per image: 1 GiB
    if (rows < 1 || length < 1 || rows > most / length)
        throw ModelError(path + " gives " + std::to_string(rows) +
                         " rows of descriptors of length " + std::to_string(length) +
                         " per image (-1: not fixed). Both must be fixed and positive, "
                         "and at most " +
                         std::to_string(most) +
                         " values together. Give a model written by kpextract export.");
    layout.max_keypoints = static_cast<int>(rows);
    layout.descriptor_dim = static_cast<int>(length);
}

Extractor::Extractor(std::unique_ptr<Engine> engine, const Options& options)
    : engine_(std::move(engine)), options_(options) {
    if (options.max_keypoints && *options.max_keypoints < 1)
        throw InvalidOptionError("max_keypoints must be none or at least 1, got " +
                                 std::to_string(*options.max_keypoints) + ".");
    if (!(options.min_score >= 0.0F && options.min_score <= 1.0F))  // NaN as well
        throw InvalidOptionError("min_score must be in [0, 1], got " +
                                 std::to_string(options.min_score) + ".");
    if (!(options.min_distance >= 0.0F && std::isfinite(options.min_distance)))
        throw InvalidOptionError(
            "min_distance must be a finite number of pixels of at least 0, got " +
            std::to_string(options.min_distance) + ". 0 keeps every point.");
    if (options.min_distance > 0.0F && engine_->layout().decodes)
        throw InvalidOptionError(
            "min_distance needs a dense model: a sparse one has spent its budget before. "
            "Export it with kpextract export --min-distance, or load a dense model.");
}

Features Extractor::extract(const cv::Mat& image, const cv::Mat& mask) {
    Features features;
    extract(image, mask, features);
    return features;
}

void Extractor::extract(const cv::Mat& image, const cv::Mat& mask, Features& out) {
    check(image);
    check_mask(mask, image.size(), engine_->layout().takes_mask);
    const cv::Size padded{round_up(image.cols), round_up(image.rows)};
    const std::lock_guard<std::mutex> lock(mutex_);
    if (padded != padded_) resize(padded);
    if (image.depth() == CV_8U)
        fill<std::uint8_t>(image, padded, inputs_.image);
    else
        fill<std::uint16_t>(image, padded, inputs_.image);
    if (inputs_.mask) {  // no keypoint may lie in the padding
        const auto columns = static_cast<std::size_t>(image.cols);
        std::memset(inputs_.mask, 0, static_cast<std::size_t>(padded.area()));
        for (int y = 0; y < image.rows; ++y) {
            std::uint8_t* row = inputs_.mask + y * padded.width;
            if (mask.empty())
                std::memset(row, 1, columns);
            else
                std::memcpy(row, mask.ptr<std::uint8_t>(y), columns);
        }
    }
    take(engine_->run(image.size(), mask), image.size(), out);
}

void Extractor::resize(cv::Size padded) {
    const cv::Size least = engine_->layout().least;
    const std::optional<cv::Size> most = engine_->layout().most;
    if (padded.width < least.width || padded.height < least.height ||
        (most && (padded.width > most->width || padded.height > most->height))) {
        std::string allowed = "from " + text(least);
        if (most) allowed += " to " + text(*most);
        if (most == least) allowed = "of " + text(least) + " only";
        throw InvalidImageError(
            "this model takes images " + allowed +
            " (width x height, padded to multiples of 8), got " + text(padded) +
            ". Resize or crop the image, or export a model or build an engine for this "
            "size.");
    }
    padded_ = {};  // in case of an exception
    inputs_ = engine_->resize(padded);
    padded_ = padded;
}

// Same as kpextract.decode.take in Python.
void Extractor::take(const Rows& rows, cv::Size image, Features& out) const {
    const Layout& layout = engine_->layout();
    // A graph from elsewhere may count more rows than it gives.
    const int given = std::clamp(rows.count, 0, layout.max_keypoints);
    const int most = std::min(given, options_.max_keypoints.value_or(given));
    int ranked = 0;  // best first
    while (ranked < most && rows.scores[ranked] >= options_.min_score) ++ranked;

    // Reserve all rows, so that a frame with more keypoints allocates nothing.
    const auto room = static_cast<std::size_t>(
        std::min(layout.max_keypoints, padded_.area() / (STRIDE * STRIDE)));
    out.keypoints.reserve(room);
    out.keypoints.clear();
    cv::Mat& descriptors = out.descriptors;
    if (descriptors.dims != 2 || descriptors.type() != CV_32F ||
        descriptors.cols != layout.descriptor_dim || descriptors.isSubmatrix())
        descriptors =
            cv::Mat(static_cast<int>(room), layout.descriptor_dim, CV_32F);
    descriptors.reserve(room);
    descriptors.resize(static_cast<std::size_t>(ranked));
    if (ranked > 0)
        cv::Mat(ranked, layout.descriptor_dim, layout.descriptor_depth, rows.descriptors)
            .convertTo(descriptors, CV_32F);

    const auto right = static_cast<float>(image.width - 1);
    const auto bottom = static_cast<float>(image.height - 1);
    int kept = 0;
    float score = 1.0F;
    for (int i = 0; i < ranked; ++i) {
        // The sigmoid in float32 is not monotone: a lower logit may give a higher last bit.
        score = std::min(score, rows.scores[i]);
        const float x = rows.keypoints[2 * i], y = rows.keypoints[2 * i + 1];
        // The graph does not know where the padding begins.
        if (x >= right + 0.5F || y >= bottom + 0.5F) continue;
        if (kept < i) descriptors.row(i).copyTo(descriptors.row(kept));
        out.keypoints.emplace_back(std::clamp(x, 0.0F, right),
                                   std::clamp(y, 0.0F, bottom), KEYPOINT_SIZE, -1.0F,
                                   score);
        ++kept;
    }
    descriptors.resize(static_cast<std::size_t>(kept));
}

}  // namespace kpextract
