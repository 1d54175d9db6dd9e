// Runs engines of sparse models by the TensorRT C++ API, 8.5 or later: named tensors and
// enqueueV3. Not yet run on a GPU.
#include "trt_extractor.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <map>

#include <NvInferRuntime.h>
#include <nlohmann/json.hpp>

#include "cuda_memory.hpp"

namespace kpextract {
namespace {

// Keeps TensorRT's last error, which may come from any thread.
class Log final : public nvinfer1::ILogger {
public:
    void log(Severity severity, const nvinfer1::AsciiChar* message) noexcept override {
        if (severity > Severity::kERROR) return;
        const std::lock_guard<std::mutex> lock(mutex_);
        last_ = message;
    }
    std::string last() {
        const std::lock_guard<std::mutex> lock(mutex_);
        return last_.empty() ? "nothing" : last_;
    }

private:
    std::mutex mutex_;
    std::string last_;
};

std::string read(const std::string& path, const std::string& advice) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw ModelError(path + " is not a file. " + advice);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// The sidecar of an engine, written by `kpextract build`.
class Sidecar {
public:
    explicit Sidecar(const std::string& engine) {
        const std::string path = engine + ".json";
        const std::string content = read(
            path,
            "It belongs to the engine: copy both, or build it again with kpextract "
            "build.");
        facts_ = nlohmann::json::parse(content, nullptr, false);
        if (!facts_.is_object())  // discarded, if it is not JSON at all
            throw ModelError(path +
                             " is not a JSON object. Build the engine again with "
                             "kpextract build.");
    }
    // Returns an entry as text; empty if it is missing or something else.
    std::string text(const char* key) const { return text(facts_, key); }
    std::string text(const char* object, const char* key) const {
        const auto found = facts_.find(object);
        return found == facts_.end() ? std::string() : text(*found, key);
    }
    bool has_object(const char* key) const {
        const auto found = facts_.find(key);
        return found != facts_.end() && found->is_object();
    }
    bool flag(const char* key) const {
        const auto found = facts_.find(key);
        return found != facts_.end() && found->is_boolean() && found->get<bool>();
    }

private:
    static std::string text(const nlohmann::json& object, const char* key) {
        const auto found = object.is_object() ? object.find(key) : object.end();
        return found != object.end() && found->is_string() ? found->get<std::string>()
                                                           : std::string();
    }

    nlohmann::json facts_;
};

std::size_t bytes(nvinfer1::DataType type) {
    switch (type) {
        case nvinfer1::DataType::kUINT8: return 1;
        case nvinfer1::DataType::kHALF: return 2;
        default: return 4;  // float and int32; a sparse graph has no other
    }
}

cv::Size size_of(const nvinfer1::Dims& image) {  // 1, H, W, 3
    return {static_cast<int>(image.d[2]), static_cast<int>(image.d[1])};
}

class TrtEngine final : public Engine {
public:
    explicit TrtEngine(const std::string& path) : path_(path) {
        const std::string plan =
            read(path,
                 "Write an engine with: kpextract build small.onnx -o small.engine "
                 "--size 640x480");
        const Sidecar sidecar(path);
        check_cuda(cudaGetDevice(&device_), "no CUDA device: cudaGetDevice");
        check_device(sidecar);
        load(plan, sidecar);
        read_layout();
        allocate();
        info_ = {"tensorrt",
                 device_name_,
                 sidecar.text("precision"),
                 sidecar.text("name"),
                 sidecar.text("version"),
                 sidecar.text("weights_sha256")};
    }
    ~TrtEngine() override {
        const OnDevice on(device_);
        context_.reset();
        buffers_.clear();
        engine_.reset();
        stream_.reset();
    }

    const Layout& layout() const override { return layout_; }
    const Info& info() const override { return info_; }

    Inputs resize(cv::Size padded) override {
        const OnDevice on(device_);
        set_shape("image", {4, {1, padded.height, padded.width, 3}});
        area_ = static_cast<std::size_t>(padded.area());
        auto* image = buffers_.at("image").as<std::uint8_t>();
        if (!layout_.takes_mask) return {image, nullptr};
        set_shape("mask", {3, {1, padded.height, padded.width}});
        return {image, buffers_.at("mask").as<std::uint8_t>()};
    }

    Rows run(cv::Size, const cv::Mat&) override {
        const OnDevice on(device_);
        copy_in("image", 3 * area_);
        if (layout_.takes_mask) copy_in("mask", area_);
        if (!context_->enqueueV3(stream_.get()))
            throw BackendUnavailableError(
                path_ + ": TensorRT failed to run the engine: " + log_.last());
        for (const auto& [name, size] : output_sizes_)
            check_cuda(cudaMemcpyAsync(buffers_.at(name).host.get(),
                                       buffers_.at(name).device.get(), size,
                                       cudaMemcpyDeviceToHost, stream_.get()),
                       "copying from the device");
        check_cuda(cudaStreamSynchronize(stream_.get()), "running the engine");
        return {buffers_.at("keypoints").as<float>(), buffers_.at("scores").as<float>(),
                buffers_.at("descriptors").as<void>(),
                *buffers_.at("count").as<std::int32_t>()};
    }

private:
    void check_device(const Sidecar& sidecar) {
        cudaDeviceProp properties{};
        check_cuda(cudaGetDeviceProperties(&properties, device_),
                   "cudaGetDeviceProperties");
        device_name_ = properties.name;
        const std::string capability =
            std::to_string(properties.major) + "." + std::to_string(properties.minor);
        // Null: built without a GPU.
        if (!sidecar.has_object("gpu") || sidecar.flag("hardware_compatible")) return;
        const std::string built = sidecar.text("gpu", "name"),
                          wanted = sidecar.text("gpu", "compute_capability");
        if (built == device_name_ && wanted == capability) return;
        throw ModelError(path_ + " was built for a GPU " + built +
                         " (compute capability " + wanted + "), and " + device_name_ +
                         " (compute capability " + capability +
                         ") is here. Build it again here with kpextract build.");
    }

    void load(const std::string& plan, const Sidecar& sidecar) {
        const std::string kind = sidecar.text("kind");
        if (kind != "sparse")
            throw ModelError(
                path_ + " is an engine of " + (kind.empty() ? "an unknown" : "a " + kind) +
                " model: only a sparse one decodes by itself. Build it from "
                "what kpextract export writes.");
        runtime_.reset(nvinfer1::createInferRuntime(log_));
        if (runtime_)
            engine_.reset(runtime_->deserializeCudaEngine(plan.data(), plan.size()));
        if (!engine_)
            throw ModelError(
                path_ + " cannot be loaded: TensorRT says: " + log_.last() +
                " It was built with " + sidecar.text("tensorrt", "package") + " " +
                sidecar.text("tensorrt", "version") +
                ". Build it again here with kpextract build.");
        context_.reset(engine_->createExecutionContext());
        if (!context_)
            throw BackendUnavailableError(
                path_ + ": TensorRT cannot make an execution context: " + log_.last() +
                " The GPU's memory may be full; build for a smaller size.");
    }

    void read_layout() {
        const nvinfer1::Dims shape = engine_->getTensorShape("image");
        dynamic_ = std::find(shape.d, shape.d + 4, -1) != shape.d + 4;
        const nvinfer1::Dims least = end("image", nvinfer1::OptProfileSelector::kMIN);
        if (least.d[0] > 1)
            throw ModelError(path_ + " takes at least " + std::to_string(least.d[0]) +
                             " images a call. Build it with --batch 1.");
        layout_.least = size_of(least);
        layout_.most = size_of(end("image", nvinfer1::OptProfileSelector::kMAX));
        const nvinfer1::Dims descriptors = engine_->getTensorShape("descriptors");
        set_rows(layout_, descriptors.d[1], descriptors.d[2], path_);
        if (engine_->getTensorDataType("descriptors") == nvinfer1::DataType::kHALF)
            layout_.descriptor_depth = CV_16F;
    }

    // Returns the smallest or largest shape of an input.
    nvinfer1::Dims end(const char* name, nvinfer1::OptProfileSelector which) const {
        return dynamic_ ? engine_->getProfileShape(name, 0, which)
                        : engine_->getTensorShape(name);
    }

    // Allocates everything, for one image of the largest size.
    void allocate() {
        cudaStream_t stream = nullptr;
        check_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking),
                   "a stream");
        stream_.reset(stream);
        if (dynamic_ && !context_->setOptimizationProfileAsync(0, stream))
            throw BackendUnavailableError(
                path_ + ": TensorRT refuses the profile: " + log_.last());
        for (std::int32_t i = 0; i < engine_->getNbIOTensors(); ++i) {
            const std::string name = engine_->getIOTensorName(i);
            const bool input = engine_->getTensorIOMode(name.c_str()) ==
                               nvinfer1::TensorIOMode::kINPUT;
            layout_.takes_mask |= name == "mask";
            const nvinfer1::Dims shape =
                input ? end(name.c_str(), nvinfer1::OptProfileSelector::kMAX)
                      : engine_->getTensorShape(name.c_str());
            std::size_t size = bytes(engine_->getTensorDataType(name.c_str()));
            for (int axis = 1; axis < shape.nbDims; ++axis)  // one image of the batch
                size *= static_cast<std::size_t>(shape.d[axis]);
            const Buffer& buffer = buffers_.try_emplace(name, size).first->second;
            if (!input) output_sizes_[name] = size;
            if (!context_->setTensorAddress(name.c_str(), buffer.device.get()))
                throw BackendUnavailableError(path_ + ": TensorRT refuses memory for " +
                                              name + ": " + log_.last());
        }
    }

    void set_shape(const char* name, const nvinfer1::Dims& shape) {
        if (!context_->setInputShape(name, shape))
            throw BackendUnavailableError(path_ + ": TensorRT refuses the shape of " +
                                          name + ": " + log_.last());
    }

    void copy_in(const std::string& name, std::size_t size) {
        const Buffer& buffer = buffers_.at(name);
        check_cuda(cudaMemcpyAsync(buffer.device.get(), buffer.host.get(), size,
                                   cudaMemcpyHostToDevice, stream_.get()),
                   "copying to the device");
    }

    std::string path_, device_name_;
    int device_ = 0;
    Log log_;  // outlives its writers
    std::unique_ptr<nvinfer1::IRuntime> runtime_;
    std::unique_ptr<nvinfer1::ICudaEngine> engine_;
    Stream stream_;
    std::map<std::string, Buffer> buffers_;
    std::map<std::string, std::size_t> output_sizes_;
    std::unique_ptr<nvinfer1::IExecutionContext> context_;
    bool dynamic_ = false;
    std::size_t area_ = 0;  // pixels of the current size
    Layout layout_;
    Info info_;
};

}  // namespace

TrtExtractor::TrtExtractor(const std::string& engine_path, const Options& options)
    : Extractor(std::make_unique<TrtEngine>(engine_path), options) {}

}  // namespace kpextract
