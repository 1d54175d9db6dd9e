#include "refinement.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include <opencv2/core/hal/intrin.hpp>

#include "kpextract.hpp"

namespace kpextract {
namespace {

constexpr float REACH = 2.0F;          // pixels that a point may move, each way
constexpr float FLAT = 0.02F * 255;    // gray levels, added to the deviation of a patch
constexpr int CHANNEL = 1;             // green
constexpr std::size_t MOST = 1 << 16;  // units of a layer; more than any has

struct Array {
    std::vector<std::size_t> shape;
    std::vector<float> values;
};

// Reads what Python's json.dumps makes of [{"shape": [...], "float32": "base64"}, ...].
class Reader {
public:
    explicit Reader(const std::string& text) : text_(text) {}

    // Returns false if the text is something else.
    bool read(std::vector<Array>& arrays) {
        if (!skip("[")) return false;
        do {
            Array array;
            if (!skip("{\"shape\":[") || !read(array.shape) ||
                !skip(",\"float32\":\"") || !read(array.values) || !skip("}"))
                return false;
            std::size_t size = 1;
            for (const std::size_t side : array.shape) size *= side;
            if (size != array.values.size()) return false;
            arrays.push_back(std::move(array));
        } while (skip(","));
        return skip("]") && at_ == text_.size();
    }

private:
    // Skips the characters of `expected`, with spaces between them.
    bool skip(const char* expected) {
        std::size_t at = at_;
        for (; *expected; ++expected) {
            while (at < text_.size() && text_[at] == ' ') ++at;
            if (at == text_.size() || text_[at++] != *expected) return false;
        }
        at_ = at;
        return true;
    }

    // Reads one or two sides, up to the closing bracket.
    bool read(std::vector<std::size_t>& shape) {
        do {
            skip("");
            while (at_ < text_.size() && text_[at_] == ' ') ++at_;
            std::size_t side = 0;
            const std::size_t start = at_;
            for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_)
                if ((side = 10 * side + static_cast<std::size_t>(text_[at_] - '0')) >
                    MOST)
                    return false;
            if (at_ == start || side == 0 || shape.size() == 2) return false;
            shape.push_back(side);
        } while (skip(","));
        return skip("]");
    }

    // Reads base64 of little-endian floats, up to the closing quote.
    bool read(std::vector<float>& values) {
        std::vector<std::uint8_t> bytes;
        std::uint32_t bits = 0;
        int held = 0;
        for (; at_ < text_.size() && digit(text_[at_]) >= 0; ++at_) {
            bits = bits << 6 | static_cast<std::uint32_t>(digit(text_[at_]));
            if ((held += 6) < 8) continue;
            held -= 8;
            bytes.push_back(static_cast<std::uint8_t>(bits >> held));
        }
        while (at_ < text_.size() && text_[at_] == '=') ++at_;
        if (!skip("\"") || bytes.size() % sizeof(float) != 0) return false;
        values.resize(bytes.size() / sizeof(float));
        std::memcpy(values.data(), bytes.data(), bytes.size());
        return std::all_of(values.begin(), values.end(),
                           [](float value) { return std::isfinite(value); });
    }

    static int digit(char c) {
        static const std::string digits =
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        const std::size_t found = digits.find(c);
        return found == std::string::npos ? -1 : static_cast<int>(found);
    }

    const std::string& text_;
    std::size_t at_ = 0;
};

}  // namespace

Refinement::Refinement(const std::string& text, const std::string& path) {
    std::vector<Array> arrays;  // the layers' weights, then their biases
    bool right = Reader(text).read(arrays) && arrays.size() % 2 == 0;
    const std::size_t half = arrays.size() / 2;
    std::size_t width = AREA, widest = AREA;
    for (std::size_t i = 0; right && i < half; ++i) {
        const Array &weight = arrays[i], &bias = arrays[half + i];
        right = weight.shape.size() == 2 && weight.shape[0] == width &&
                bias.shape == std::vector<std::size_t>{weight.shape[1]};
        if (!right) break;
        width = weight.shape[1];
        widest = std::max(widest, width);
        layers_.push_back(pack(weight.values, bias.values));
    }
    if (!right || width != 3)  // x, y and sigma
        throw ModelError(path +
                         ": its metadata kpextract.refinement is not a refinement. "
                         "Export the model again.");
    values_.resize(widest + GROUP);
    next_.resize(widest + GROUP);
}

void Refinement::operator()(const cv::Mat& image, std::vector<cv::Point2f>& points) {
    for (std::size_t first = 0; first < points.size(); first += LANES) {
        const std::size_t count = std::min<std::size_t>(LANES, points.size() - first);
        for (std::size_t lane = 0; lane < count; ++lane)
            cut(image, points[first + lane], lane);
        normalize();
        for (const Layer& layer : layers_) multiply(layer, &layer == &layers_.back());
        for (std::size_t lane = 0; lane < count; ++lane)
            points[first + lane] += REACH * cv::Point2f(std::tanh(values_[0][lane]),
                                                        std::tanh(values_[1][lane]));
    }
}

// Takes weights of inputs x outputs.
Refinement::Layer Refinement::pack(const std::vector<float>& weights,
                                   const std::vector<float>& biases) {
    const std::size_t outputs = biases.size(), inputs = weights.size() / outputs;
    Layer layer{inputs, (outputs + GROUP - 1) / GROUP, {}, biases};
    layer.biases.resize(layer.groups * GROUP);
    layer.weights.resize(layer.groups * inputs * GROUP);
    for (std::size_t in = 0; in < inputs; ++in)
        for (std::size_t out = 0; out < outputs; ++out)
            layer.weights[(out / GROUP * inputs + in) * GROUP + out % GROUP] =
                weights[in * outputs + out];
    return layer;
}

// Reads the patch around a point, bilinear, the border of the image repeated.
void Refinement::cut(const cv::Mat& image, cv::Point2f point, std::size_t lane) {
    const float left = std::floor(point.x), top = std::floor(point.y);
    const float across = point.x - left, down = point.y - top;
    std::array<int, SIDE + 1> columns;
    for (int i = 0; i <= SIDE; ++i) {
        const int x = static_cast<int>(left) + i - SIDE / 2;
        columns[static_cast<std::size_t>(i)] =
            3 * std::clamp(x, 0, image.cols - 1) + CHANNEL;
    }
    std::array<float, SIDE + 1> line;
    std::array<float, SIDE> above{}, mixed, between;
    float* value = &values_[0][lane];
    for (int i = 0; i <= SIDE; ++i) {
        const int y = static_cast<int>(top) + i - SIDE / 2;
        const auto* row = image.ptr<std::uint8_t>(std::clamp(y, 0, image.rows - 1));
        for (std::size_t j = 0; j <= SIDE; ++j) line[j] = row[columns[j]];
        for (std::size_t j = 0; j < SIDE; ++j)
            mixed[j] = line[j] + across * (line[j + 1] - line[j]);
        for (std::size_t j = 0; j < SIDE; ++j)
            between[j] = above[j] + down * (mixed[j] - above[j]);
        above = mixed;
        if (i == 0) continue;  // nothing is above
        for (std::size_t j = 0; j < SIDE; ++j, value += LANES) *value = between[j];
    }
}

// Subtracts each patch's mean and divides by its deviation plus FLAT.
void Refinement::normalize() {
    Lanes mean{}, variance{}, scale;
    for (std::size_t i = 0; i < AREA; ++i)
        for (std::size_t k = 0; k < LANES; ++k) mean[k] += values_[i][k];
    for (std::size_t k = 0; k < LANES; ++k) mean[k] /= AREA;
    for (std::size_t i = 0; i < AREA; ++i)
        for (std::size_t k = 0; k < LANES; ++k) {
            values_[i][k] -= mean[k];
            variance[k] += values_[i][k] * values_[i][k];
        }
    for (std::size_t k = 0; k < LANES; ++k)
        scale[k] = 1.0F / (std::sqrt(variance[k] / AREA) + FLAT);
    for (std::size_t i = 0; i < AREA; ++i)
        for (std::size_t k = 0; k < LANES; ++k) values_[i][k] *= scale[k];
}

// Computes a group of outputs for two vectors of points at once: eight sums stay in
// registers.
void Refinement::multiply(const Layer& layer, bool last) {
    constexpr std::size_t width = CV_SIMD_WIDTH / sizeof(float);
    static_assert(LANES % (2 * width) == 0, "whole pairs of vectors");
    const cv::v_float32 zero = cv::vx_setall_f32(0.0F);
    for (std::size_t group = 0; group < layer.groups; ++group) {
        const float* bias = &layer.biases[group * GROUP];
        for (std::size_t lane = 0; lane < LANES; lane += 2 * width) {
            cv::v_float32 a0 = cv::vx_setall_f32(bias[0]), b0 = a0,
                          a1 = cv::vx_setall_f32(bias[1]), b1 = a1,
                          a2 = cv::vx_setall_f32(bias[2]), b2 = a2,
                          a3 = cv::vx_setall_f32(bias[3]), b3 = a3;
            const float* weight = &layer.weights[group * layer.inputs * GROUP];
            const float* value = &values_[0][lane];
            for (std::size_t in = 0; in < layer.inputs;
                 ++in, weight += GROUP, value += LANES) {
                const cv::v_float32 a = cv::vx_load(value),
                                    b = cv::vx_load(value + width);
                const cv::v_float32 w0 = cv::vx_setall_f32(weight[0]),
                                    w1 = cv::vx_setall_f32(weight[1]),
                                    w2 = cv::vx_setall_f32(weight[2]),
                                    w3 = cv::vx_setall_f32(weight[3]);
                a0 = cv::v_muladd(a, w0, a0), b0 = cv::v_muladd(b, w0, b0);
                a1 = cv::v_muladd(a, w1, a1), b1 = cv::v_muladd(b, w1, b1);
                a2 = cv::v_muladd(a, w2, a2), b2 = cv::v_muladd(b, w2, b2);
                a3 = cv::v_muladd(a, w3, a3), b3 = cv::v_muladd(b, w3, b3);
            }
            float* sum = &next_[group * GROUP][lane];
            for (const auto& [first, second] :
                 {std::pair(a0, b0), {a1, b1}, {a2, b2}, {a3, b3}}) {
                cv::v_store(sum, last ? first : cv::v_max(first, zero));
                cv::v_store(sum + width, last ? second : cv::v_max(second, zero));
                sum += LANES;
            }
        }
    }
    std::swap(values_, next_);
}

}  // namespace kpextract
