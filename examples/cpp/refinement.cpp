#include "refinement.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "kpextract.hpp"

namespace kpextract {
namespace {

constexpr float REACH = 2.0F;         // pixels that a point may move, each way
constexpr float FLAT = 0.02F * 255;   // gray levels, added to the deviation of a patch
constexpr int CHANNEL = 1;            // green
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
        Layer layer{weight.shape[0], width, weight.values, bias.values};
        for (std::size_t in = 0; in < layer.inputs; ++in)
            for (std::size_t out = 0; out < width; ++out)
                layer.weights[out * layer.inputs + in] = weight.values[in * width + out];
        layers_.push_back(std::move(layer));
    }
    if (!right || width != 3)  // x, y and sigma
        throw ModelError(path +
                         ": its metadata kpextract.refinement is not a refinement. "
                         "Export the model again.");
    layers_.back().outputs = 2;  // features have no sigma
    values_.resize(widest);
    next_.resize(widest);
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
    std::array<float, SIDE> above{}, mixed{};
    std::size_t at = 0;
    for (int i = 0; i <= SIDE; ++i) {
        const int y = static_cast<int>(top) + i - SIDE / 2;
        const auto* row = image.ptr<std::uint8_t>(std::clamp(y, 0, image.rows - 1));
        float here = row[columns[0]];
        for (std::size_t j = 0; j < SIDE; ++j) {
            const float next = row[columns[j + 1]];
            mixed[j] = here + across * (next - here);
            here = next;
        }
        if (i > 0)
            for (std::size_t j = 0; j < SIDE; ++j)
                values_[at++][lane] = above[j] + down * (mixed[j] - above[j]);
        above = mixed;
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
            const float centered = values_[i][k] - mean[k];
            variance[k] += centered * centered;
        }
    for (std::size_t k = 0; k < LANES; ++k)
        scale[k] = 1.0F / (std::sqrt(variance[k] / AREA) + FLAT);
    for (std::size_t i = 0; i < AREA; ++i)
        for (std::size_t k = 0; k < LANES; ++k)
            values_[i][k] = (values_[i][k] - mean[k]) * scale[k];
}

void Refinement::multiply(const Layer& layer, bool last) {
    for (std::size_t out = 0; out < layer.outputs; out += 2) {
        const std::size_t other = std::min(out + 1, layer.outputs - 1);
        const float* weights0 = &layer.weights[out * layer.inputs];
        const float* weights1 = &layer.weights[other * layer.inputs];
        Lanes sums0, sums1;
        sums0.fill(layer.biases[out]);
        sums1.fill(layer.biases[other]);
        for (std::size_t in = 0; in < layer.inputs; ++in)
            for (std::size_t k = 0; k < LANES; ++k) {
                sums0[k] += weights0[in] * values_[in][k];
                sums1[k] += weights1[in] * values_[in][k];
            }
        for (std::size_t k = 0; !last && k < LANES; ++k) {
            sums0[k] = std::max(sums0[k], 0.0F);
            sums1[k] = std::max(sums1[k], 0.0F);
        }
        next_[out] = sums0;
        next_[other] = sums1;
    }
    std::swap(values_, next_);
}

}  // namespace kpextract
