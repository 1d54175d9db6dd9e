// Learned keypoints and descriptors (UnsuperPoint) in C++, with a model of kpextract.
// Needs opencv_core, and ONNX Runtime (onnx_extractor.cpp) or TensorRT
// (trt_extractor.hpp).
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <opencv2/core.hpp>

namespace kpextract {

constexpr int STRIDE = 8;              // pixels, side of a cell; images are padded to it
constexpr int MIN_SIDE = 16;           // pixels, smallest image side
constexpr float KEYPOINT_SIZE = 8.0F;  // pixels, the cell of a keypoint

// Base of all errors: what was given, what is allowed, what to do.
struct Error : std::runtime_error {
    using std::runtime_error::runtime_error;
};
struct InvalidImageError : Error {
    using Error::Error;
};
struct InvalidOptionError : Error {
    using Error::Error;
};
struct ModelError : Error {
    using Error::Error;
};
struct BackendUnavailableError : Error {
    using Error::Error;
};

struct Options {
    std::optional<int> max_keypoints;  // none: 1024, or those of a sparse export
    float min_score = 0.35F;           // in [0, 1]; 0 also keeps points on black or sky
    std::optional<int> num_threads;    // CPU threads; none: the runtime's choice
    float min_distance = 0.0F;         // pixels; dense models only
};

// Keypoints of one image, best score first.
struct Features {
    // Pixels of the input image, (0, 0) is the center of the top-left pixel;
    // `response` is the score in [0, 1], `size` the cell, `angle` -1 (none).
    std::vector<cv::KeyPoint> keypoints;
    cv::Mat descriptors;  // (N, D) CV_32F unit rows, for cv::NORM_L2
};

// The backend and model that actually run.
struct Info {
    std::string backend;    // "onnx-cpu" or "tensorrt"
    std::string device;     // as the runtime reports it
    std::string precision;  // arithmetic of the network
    std::string model;      // name
    std::string version;    // version of the weights
    std::string sha256;     // hash of the weights
};

// Sizes and types of a loaded graph.
struct Layout {
    bool decodes = true;  // by itself, before the extractor's options are known
    bool takes_mask = false;
    int max_keypoints = 0;           // K, at most, of an image
    int descriptor_dim = 0;          // D
    int descriptor_depth = CV_32F;   // or CV_16F
    cv::Size least{STRIDE, STRIDE};  // smallest padded image
    std::optional<cv::Size> most;    // largest; none: no limit
};

// Sets rows per image and descriptor length as a graph declares them, -1 for a number
// that is not fixed. Throws ModelError if they are not those of a sparse model.
void set_rows(Layout& layout, std::int64_t rows, std::int64_t length,
              const std::string& path);

// Input memory for one image of H x W padded pixels.
struct Inputs {
    std::uint8_t* image = nullptr;  // H * W * 3, BGR
    std::uint8_t* mask = nullptr;   // H * W; null if the graph takes no mask
};

// Keypoints of an image; the memory may hold more rows than `count`.
struct Rows {
    const float* keypoints;  // K * 2, x and y in pixels
    const float* scores;     // K, best first
    void* descriptors;       // K * D
    int count;               // of keypoints; the extractor bounds it
};

// A runtime with a loaded graph; serves one call at a time.
class Engine {
public:
    virtual ~Engine() = default;
    virtual const Layout& layout() const = 0;
    virtual const Info& info() const = 0;
    // Allocates for another padded size, and invalidates earlier memory.
    virtual Inputs resize(cv::Size padded) = 0;
    // Runs on the contents of the inputs; the rows are valid until the next call. Not
    // every graph knows which part of its input is the `image`, the rest being padding,
    // or sees the caller's `mask`, which is empty or of that size.
    virtual Rows run(cv::Size image, const cv::Mat& mask) = 0;
};

// Extracts features from images. The same image gives the same bits each time. Safe to
// call from many threads, which then wait for one another: for parallel calls, give each
// thread its own extractor.
class Extractor {
public:
    // Loads an .onnx file of kpextract (onnx_extractor.cpp). Maps of a dense one are
    // decoded here; a sparse graph decodes by itself.
    // Throws ModelError, InvalidOptionError or BackendUnavailableError.
    explicit Extractor(const std::string& model_path, const Options& options = {});
    Extractor(std::unique_ptr<Engine> engine, const Options& options);
    virtual ~Extractor() = default;

    // `image`: gray, BGR or BGRA (alpha is dropped), 8 or 16 bits per channel, at least
    // 16 pixels per side, any row stride; not modified. `mask`: empty, or CV_8UC1 of the
    // image's size, non-zero where keypoints are allowed, before the budget is spent.
    // Throws InvalidImageError, or BackendUnavailableError if the runtime fails.
    Features extract(const cv::Mat& image, const cv::Mat& mask = {});

    // As above, into the memory of `out`: after the first image of a size it allocates
    // nothing of its own. Data that shares memory with `out` is overwritten.
    void extract(const cv::Mat& image, const cv::Mat& mask, Features& out);

    const Info& info() const { return engine_->info(); }
    int descriptor_dim() const { return engine_->layout().descriptor_dim; }

private:
    void resize(cv::Size padded);
    void take(const Rows& rows, cv::Size image, Features& out) const;

    std::unique_ptr<Engine> engine_;
    Options options_;
    std::mutex mutex_;
    cv::Size padded_;  // size of the inputs
    Inputs inputs_;
};

}  // namespace kpextract
