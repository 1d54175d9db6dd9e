// Runs sparse models by ONNX Runtime on the CPU.
#include <array>
#include <filesystem>

#include <onnxruntime_cxx_api.h>

#include "kpextract.hpp"

namespace kpextract {
namespace {

Ort::Env& environment() {
    // A library older than the headers has no such API: every call would crash.
    if (!OrtGetApiBase()->GetApi(ORT_API_VERSION))
        throw BackendUnavailableError(
            "ONNX Runtime " + std::string(OrtGetApiBase()->GetVersionString()) +
            " is older than the headers that this program was compiled with (API " +
            std::to_string(ORT_API_VERSION) +
            "). Install headers and library of one version, and compile again.");
    static Ort::Env environment = [] {
        Ort::Env made(ORT_LOGGING_LEVEL_WARNING, "kpextract");
        made.DisableTelemetryEvents();
        return made;
    }();
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

class OnnxEngine final : public Engine {
public:
    OnnxEngine(const std::string& path, const Options& options)
        : session_(open(environment_, path, options)), binding_(session_) {
        check_kind(path);
        read_layout(path);
        info_ = {"onnx-cpu",
                 "CPU",
                 metadata("precision").value_or("float32"),
                 metadata("name").value_or(""),
                 metadata("version").value_or(""),
                 metadata("sha256").value_or("")};
        bind_outputs();
    }

    const Layout& layout() const override { return layout_; }
    const Info& info() const override { return info_; }

    Inputs resize(cv::Size padded) override {
        const auto area = static_cast<std::size_t>(padded.area());
        image_.resize(3 * area);
        const std::array<std::int64_t, 4> shape{1, padded.height, padded.width, 3};
        bind_input("image", image_, shape.data(), shape.size());
        if (!layout_.takes_mask) return {image_.data(), nullptr};
        mask_.resize(area);
        bind_input("mask", mask_, shape.data(), 3);
        return {image_.data(), mask_.data()};
    }

    Rows run() override {
        try {
            session_.Run(Ort::RunOptions{nullptr}, binding_);
        } catch (const Ort::Exception& error) {
            throw BackendUnavailableError(
                std::string("ONNX Runtime failed to run the model (") + error.what() +
                "). If memory is short, pass a smaller image.");
        }
        return {keypoints_.data(), scores_.data(), descriptors_.data(), count_};
    }

private:
    std::optional<std::string> metadata(const char* key) {
        const auto found = session_.GetModelMetadata().LookupCustomMetadataMapAllocated(
            (std::string("kpextract.") + key).c_str(), allocator_);
        return found ? std::optional<std::string>(found.get()) : std::nullopt;
    }

    void check_kind(const std::string& path) {
        const std::optional<std::string> kind = metadata("kind");
        if (kind == "sparse") return;
        const std::string what =
            kind ? "a " + *kind + " model: only a sparse one decodes by itself"
                 : std::string(
                       "not a kpextract model: its metadata lack kpextract.kind");
        throw ModelError(path + " is " + what +
                         ". Write one with: kpextract export --model " +
                         (kind ? path : "small") + " -o sparse.onnx");
    }

    void read_layout(const std::string& path) {
        layout_.takes_mask = session_.GetInputCount() > 1;
        const std::vector<std::int64_t> image =  // B, H, W, 3; dynamic ones are -1
            session_.GetInputTypeInfo(0).GetTensorTypeAndShapeInfo().GetShape();
        if (image[0] > 1)
            throw ModelError(path + " takes " + std::to_string(image[0]) +
                             " images a call. Export it with --batch 1, or without.");
        if (image[1] > 0) {
            layout_.least = {static_cast<int>(image[2]), static_cast<int>(image[1])};
            layout_.most = layout_.least;
        }
        for (std::size_t i = 0; i < session_.GetOutputCount(); ++i) {
            if (std::string(session_.GetOutputNameAllocated(i, allocator_).get()) !=
                "descriptors")
                continue;
            const Ort::TypeInfo type = session_.GetOutputTypeInfo(i);
            const auto tensor = type.GetTensorTypeAndShapeInfo();
            layout_.max_keypoints = static_cast<int>(tensor.GetShape()[1]);
            layout_.descriptor_dim = static_cast<int>(tensor.GetShape()[2]);
            if (tensor.GetElementType() == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16)
                layout_.descriptor_depth = CV_16F;
        }
    }

    void bind_input(const char* name, std::vector<std::uint8_t>& data,
                    const std::int64_t* shape, std::size_t rank) {
        binding_.BindInput(name, Ort::Value::CreateTensor<std::uint8_t>(
                                     memory_, data.data(), data.size(), shape, rank));
    }

    // The number of rows is fixed: one set of outputs serves images of all sizes.
    void bind_outputs() {
        const std::int64_t k = layout_.max_keypoints, d = layout_.descriptor_dim;
        const bool half = layout_.descriptor_depth == CV_16F;
        keypoints_.resize(static_cast<std::size_t>(2 * k));
        scores_.resize(static_cast<std::size_t>(k));
        descriptors_.resize(static_cast<std::size_t>(k * d) * (half ? 2 : 4));
        bind_output("keypoints", keypoints_.data(), 2 * k * 4, {1, k, 2});
        bind_output("scores", scores_.data(), k * 4, {1, k});
        bind_output("descriptors", descriptors_.data(), k * d * (half ? 2 : 4),
                    {1, k, d},
                    half ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16
                         : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT);
        bind_output("count", &count_, 4, {1}, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32);
    }

    void bind_output(
        const char* name, void* data, std::int64_t bytes,
        const std::vector<std::int64_t>& shape,
        ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT) {
        binding_.BindOutput(name, Ort::Value::CreateTensor(
                                      memory_, data, static_cast<std::size_t>(bytes),
                                      shape.data(), shape.size(), type));
    }

    Ort::Env& environment_ = environment();  // first: it checks that the API exists
    Ort::AllocatorWithDefaultOptions allocator_;
    Ort::MemoryInfo memory_ =
        Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    Ort::Session session_;
    Ort::IoBinding binding_;
    Layout layout_;
    Info info_;
    std::vector<std::uint8_t> image_, mask_;
    std::vector<float> keypoints_, scores_;
    std::vector<std::uint8_t> descriptors_;  // float or half
    std::int32_t count_ = 0;
};

}  // namespace

Extractor::Extractor(const std::string& model_path, const Options& options)
    : Extractor(std::make_unique<OnnxEngine>(model_path, options), options) {}

}  // namespace kpextract
