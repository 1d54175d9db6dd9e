// Runs models by ONNX Runtime on the CPU.
#include <cstdlib>
#include <filesystem>
#include <utility>

#include <onnxruntime_cxx_api.h>

#include "decode.hpp"
#include "kpextract.hpp"

namespace kpextract {
namespace {

// Makes the environment, which neither reports to ONNX Runtime's maker nor writes to
// the home folder: the variable holds if this is the first in the process, the call
// otherwise.
Ort::Env without_telemetry() {
#ifdef _WIN32
    _putenv_s("ORT_DISABLE_TELEMETRY", "1");
#else
    setenv("ORT_DISABLE_TELEMETRY", "1", 1);
#endif
    Ort::Env made(ORT_LOGGING_LEVEL_WARNING, "kpextract");
    made.DisableTelemetryEvents();
    return made;
}

Ort::Env& environment() {
    // A library older than the headers has no such API: every call would crash.
    if (!OrtGetApiBase()->GetApi(ORT_API_VERSION))
        throw BackendUnavailableError(
            "ONNX Runtime " + std::string(OrtGetApiBase()->GetVersionString()) +
            " is older than the headers that this program was compiled with (API " +
            std::to_string(ORT_API_VERSION) +
            "). Install headers and library of one version, and compile again.");
    static Ort::Env environment = without_telemetry();
    return environment;
}

Ort::Session open(Ort::Env& environment, const std::string& path,
                  const Options& options) {
    if (options.num_threads && *options.num_threads < 1)
        throw InvalidOptionError("num_threads must be none or at least 1, got " +
                                 std::to_string(*options.num_threads) + ".");
    if (!std::filesystem::is_regular_file(path))
        throw ModelError(path +
                         " is not a file. Write a model with: kpextract export "
                         "--model small -o small.onnx");
    Ort::SessionOptions session;
    if (options.num_threads) session.SetIntraOpNumThreads(*options.num_threads);
    try {
        return {environment, std::filesystem::path(path).c_str(), session};
    } catch (const Ort::Exception& error) {
        throw ModelError(path + ": ONNX Runtime cannot load it as a model (" +
                         error.what() +
                         "). Give an .onnx file written by kpextract export.");
    }
}

std::optional<std::string> metadata(const Ort::Session& session, const char* key) {
    Ort::AllocatorWithDefaultOptions allocator;
    const auto found = session.GetModelMetadata().LookupCustomMetadataMapAllocated(
        (std::string("kpextract.") + key).c_str(), allocator);
    return found ? std::optional<std::string>(found.get()) : std::nullopt;
}

// Element type and shape of an output, -1 for a side that is not fixed.
struct Output {
    ONNXTensorElementDataType type;
    std::vector<std::int64_t> shape;
};

// Base of both kinds of graphs: the image, and what the metadata say.
class OnnxEngine : public Engine {
public:
    const Layout& layout() const override { return layout_; }
    const Info& info() const override { return info_; }

protected:
    OnnxEngine(const std::string& path, Ort::Session session)
        : path_(path), session_(std::move(session)), binding_(session_) {
        const auto fact = [&](const char* key, const char* missing) {
            return metadata(session_, key).value_or(missing);
        };
        info_ = {"onnx-cpu",
                 "CPU",
                 fact("precision", "float32"),
                 fact("name", ""),
                 fact("version", ""),
                 fact("sha256", "")};
        const Ort::TypeInfo type = session_.GetInputTypeInfo(0);
        const auto tensor = type.GetTensorTypeAndShapeInfo();
        if (tensor.GetElementType() != ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8)
            throw ModelError(path +
                             " was exported with --input float32, for other runtimes. "
                             "Export it without.");
        const std::vector<std::int64_t> image = tensor.GetShape();  // B, H, W, 3
        if (image[0] > 1)
            throw ModelError(path + " takes " + std::to_string(image[0]) +
                             " images a call. Export it with --batch 1, or without.");
        if (image[1] > 0) {
            layout_.least = {static_cast<int>(image[2]), static_cast<int>(image[1])};
            layout_.most = layout_.least;
        }
    }

    // Throws ModelError if the graph has no such output.
    Output output(const std::string& name) {
        for (std::size_t i = 0; i < session_.GetOutputCount(); ++i) {
            if (session_.GetOutputNameAllocated(i, allocator_).get() != name) continue;
            const Ort::TypeInfo type = session_.GetOutputTypeInfo(i);
            const auto tensor = type.GetTensorTypeAndShapeInfo();
            return {tensor.GetElementType(), tensor.GetShape()};
        }
        throw ModelError(path_ + " has no output " + name +
                         ". Give a model written by kpextract export.");
    }

    void resize_image(cv::Size padded) {
        image_.resize(3 * static_cast<std::size_t>(padded.area()));
        bind_input("image", image_, {1, padded.height, padded.width, 3});
    }

    void bind_input(const char* name, std::vector<std::uint8_t>& data,
                    const std::vector<std::int64_t>& shape) {
        binding_.BindInput(
            name, Ort::Value::CreateTensor<std::uint8_t>(
                      memory_, data.data(), data.size(), shape.data(), shape.size()));
    }

    void bind_output(
        const char* name, void* data, std::int64_t bytes,
        const std::vector<std::int64_t>& shape,
        ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT) {
        binding_.BindOutput(name, Ort::Value::CreateTensor(
                                      memory_, data, static_cast<std::size_t>(bytes),
                                      shape.data(), shape.size(), type));
    }

    void bind_output(const char* name, std::vector<float>& data,
                     const std::vector<std::int64_t>& shape) {
        std::int64_t size = 1;
        for (const std::int64_t side : shape) size *= side;
        data.resize(static_cast<std::size_t>(size));
        bind_output(name, data.data(), 4 * size, shape);
    }

    void run_session() {
        try {
            session_.Run(Ort::RunOptions{nullptr}, binding_);
        } catch (const Ort::Exception& error) {
            throw BackendUnavailableError(
                std::string("ONNX Runtime failed to run the model (") + error.what() +
                "). If memory is short, pass a smaller image.");
        }
    }

    std::string path_;
    Ort::AllocatorWithDefaultOptions allocator_;
    Ort::MemoryInfo memory_ =
        Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    Ort::Session session_;
    Ort::IoBinding binding_;
    Layout layout_;
    Info info_;
    std::vector<std::uint8_t> image_;
};

class SparseEngine final : public OnnxEngine {
public:
    SparseEngine(const std::string& path, Ort::Session session)
        : OnnxEngine(path, std::move(session)) {
        const Output descriptors = output("descriptors");  // B, K, D
        set_rows(layout_, descriptors.shape.at(1), descriptors.shape.at(2), path);
        layout_.takes_mask = session_.GetInputCount() > 1;
        const bool half = descriptors.type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
        if (half) layout_.descriptor_depth = CV_16F;
        // The number of rows is fixed: one set of outputs serves images of all sizes.
        const std::int64_t k = layout_.max_keypoints, d = layout_.descriptor_dim;
        bind_output("keypoints", keypoints_, {1, k, 2});
        bind_output("scores", scores_, {1, k});
        descriptors_.resize(static_cast<std::size_t>(k * d) * (half ? 2 : 4));
        bind_output("descriptors", descriptors_.data(), k * d * (half ? 2 : 4),
                    {1, k, d}, descriptors.type);
        bind_output("count", &count_, 4, {1}, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32);
    }

    Inputs resize(cv::Size padded) override {
        resize_image(padded);
        if (!layout_.takes_mask) return {image_.data(), nullptr};
        mask_.resize(static_cast<std::size_t>(padded.area()));
        bind_input("mask", mask_, {1, padded.height, padded.width});
        return {image_.data(), mask_.data()};
    }

    Rows run(cv::Size, const cv::Mat&) override {
        run_session();
        return {keypoints_.data(), scores_.data(), descriptors_.data(), count_};
    }

private:
    std::vector<std::uint8_t> mask_;
    std::vector<float> keypoints_, scores_;
    std::vector<std::uint8_t> descriptors_;  // float or half
    std::int32_t count_ = 0;
};

class DenseEngine final : public OnnxEngine {
public:
    DenseEngine(const std::string& path, Ort::Session session, const Options& options)
        : OnnxEngine(path, std::move(session)) {
        constexpr int default_rows = 1024;
        layout_.decodes = false;
        layout_.takes_mask = true;
        set_rows(layout_, default_rows, output("descriptor_map").shape.at(1), path);
        layout_.max_keypoints = options.max_keypoints.value_or(default_rows);
        std::optional<Refinement> refinement;
        if (const auto text = metadata(session_, "refinement"))
            refinement.emplace(*text, path);
        decoder_.emplace(layout_.max_keypoints, layout_.descriptor_dim, options,
                         std::move(refinement));
        find_stride();
    }

    Inputs resize(cv::Size padded) override {
        resize_image(padded);
        pixels_ = cv::Mat(padded, CV_8UC3, image_.data());
        maps_.cells = padded / STRIDE;
        maps_.size = padded / map_stride_;
        const std::int64_t rows = maps_.cells.height, columns = maps_.cells.width;
        bind_output("score_logits", score_logits_, {1, 1, rows, columns});
        bind_output("positions", positions_, {1, 2, rows, columns});
        bind_output("descriptor_map", descriptor_map_,
                    {1, layout_.descriptor_dim, maps_.size.height, maps_.size.width});
        maps_.score_logits = score_logits_.data();
        maps_.positions = positions_.data();
        maps_.descriptors = descriptor_map_.data();
        decoder_->reserve(maps_.cells.area());
        return {image_.data(), nullptr};
    }

    Rows run(cv::Size image, const cv::Mat& mask) override {
        run_session();
        return decoder_->decode(maps_, pixels_, image, mask);
    }

private:
    // Pixels between entries of the descriptor map; a graph of free size tells them
    // only when it is run.
    void find_stride() {
        const cv::Size size = layout_.most.value_or(cv::Size(MIN_SIDE, MIN_SIDE));
        resize_image(size);
        binding_.BindOutput("descriptor_map", memory_);
        run_session();
        const std::vector<std::int64_t> shape =
            binding_.GetOutputValues().at(0).GetTensorTypeAndShapeInfo().GetShape();
        map_stride_ = size.height / static_cast<int>(shape.at(2));
        binding_.ClearBoundOutputs();
    }

    int map_stride_ = STRIDE;
    std::vector<float> score_logits_, positions_, descriptor_map_;
    Maps maps_{};
    cv::Mat pixels_;  // those of the input
    std::optional<Decoder> decoder_;
};

std::unique_ptr<Engine> load(const std::string& path, const Options& options) {
    Ort::Session session = open(environment(), path, options);
    const std::optional<std::string> kind = metadata(session, "kind");
    if (kind == "sparse")
        return std::make_unique<SparseEngine>(path, std::move(session));
    if (kind == "dense")
        return std::make_unique<DenseEngine>(path, std::move(session), options);
    throw ModelError(path +
                     " is not a kpextract model: its metadata lack kpextract.kind. "
                     "Write one with: kpextract export --model small -o small.onnx");
}

}  // namespace

Extractor::Extractor(const std::string& model_path, const Options& options)
    : Extractor(load(model_path, options), options) {}

}  // namespace kpextract
