// Fakes libcudart and libnvinfer. An "engine" is a text file: FAKE, the path of a sparse
// ONNX file, and the min and max HxW of a dynamic size; ONNX Runtime runs it. As strict
// as the real ones: device memory is not host memory, copies need pinned memory, nothing
// is done before the stream is synchronized, and every object belongs to a device.
#include "fake.hpp"

#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include <NvInferRuntime.h>
#include <cuda_runtime_api.h>
#include <onnxruntime_cxx_api.h>

namespace {

thread_local int current = 0;
int live = 0;
struct Block {
    std::size_t size;
    int device;  // -1: pinned host memory
};
std::map<char*, Block> blocks;

// Blocks are overwritten when freed, and new blocks hold no zeros.
cudaError_t take(void** made, std::size_t size, int device) {
    *made = std::memset(std::malloc(size), 0xA5, size);
    blocks[static_cast<char*>(*made)] = {size, device};
    ++live;
    return cudaSuccess;
}

cudaError_t give(void* made, bool pinned) {
    const auto found = blocks.find(static_cast<char*>(made));
    if (found == blocks.end() || pinned != (found->second.device < 0))
        return cudaErrorInvalidValue;
    blocks.erase(found);
    std::free(made);
    --live;
    return cudaSuccess;
}

bool holds(const void* start, std::size_t size, int device) {
    const auto found = blocks.find(const_cast<char*>(static_cast<const char*>(start)));
    return found != blocks.end() && found->second.device == device &&
           size <= found->second.size;
}

}  // namespace

struct CUstream_st {
    int device;
    std::vector<std::function<bool()>> work;
};

int fake_live() { return live; }
int& fake_device() { return current; }

extern "C" {
const char* cudaGetErrorString(cudaError_t) { return "what the stand-in says"; }
cudaError_t cudaGetDevice(int* device) {
    *device = current;
    return std::getenv("FAKE_NO_DEVICE") ? cudaErrorNoDevice : cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
    current = device;
    return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
    std::strcpy(properties->name, "Fake GPU");
    properties->major = 8;
    properties->minor = 7;
    return cudaSuccess;
}
cudaError_t cudaMalloc(void** made, std::size_t size) {
    if (std::getenv("FAKE_NO_MEMORY")) return cudaErrorMemoryAllocation;
    return take(made, size, current);
}
cudaError_t cudaFree(void* made) { return give(made, false); }
cudaError_t cudaHostAlloc(void** made, std::size_t size, unsigned) {
    return take(made, size, -1);
}
cudaError_t cudaFreeHost(void* made) { return give(made, true); }
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* made, unsigned flags) {
    if (flags != cudaStreamNonBlocking) return cudaErrorInvalidValue;
    *made = new CUstream_st{current, {}};
    ++live;
    return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    delete stream;
    --live;
    return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t size,
                            cudaMemcpyKind kind, cudaStream_t stream) {
    const bool in = kind == cudaMemcpyHostToDevice;
    if (stream->device != current || !holds(in ? from : to, size, -1) ||
        !holds(in ? to : from, size, current))
        return cudaErrorInvalidValue;
    stream->work.emplace_back([=] { return std::memcpy(to, from, size) != nullptr; });
    return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    bool good = true;
    for (const auto& work : stream->work) good = good && work();
    stream->work.clear();
    return good ? cudaSuccess : cudaErrorLaunchFailure;
}
}

namespace nvinfer1 {
namespace {

struct Counted {
    Counted() { ++live; }
    ~Counted() { --live; }
};

Ort::Env& environment() {
    static Ort::Env environment;
    return environment;
}

struct Tensor {
    bool input;
    DataType type;
    std::vector<std::int64_t> shape;
};

struct Engine;

struct Context final : IExecutionContext, Counted {
    explicit Context(Engine& engine) : engine_(engine) {}
    bool setOptimizationProfileAsync(std::int32_t profile,
                                     cudaStream_t) noexcept override {
        has_profile_ = profile == 0;
        return has_profile_;
    }
    bool setInputShape(char const* name, Dims const& dims) noexcept override;
    bool setTensorAddress(char const* name, void* data) noexcept override {
        addresses_[name] = data;
        return true;
    }
    bool enqueueV3(cudaStream_t stream) noexcept override;

private:
    bool run();
    Engine& engine_;
    bool has_profile_ = false;
    std::map<std::string, std::vector<std::int64_t>> shapes_;
    std::map<std::string, void*> addresses_;
};

struct Engine final : ICudaEngine, Counted {
    Engine(ILogger& logger, const std::string& path,
           const std::vector<std::int64_t>& ends)
        : logger(logger),
          ends(ends),
          session(environment(), path.c_str(), Ort::SessionOptions{}) {
        Ort::AllocatorWithDefaultOptions allocator;
        for (std::size_t i = 0; i < session.GetInputCount(); ++i)
            add(session.GetInputNameAllocated(i, allocator).get(), true,
                session.GetInputTypeInfo(i));
        for (std::size_t i = 0; i < session.GetOutputCount(); ++i)
            add(session.GetOutputNameAllocated(i, allocator).get(), false,
                session.GetOutputTypeInfo(i));
    }
    void add(const std::string& name, bool input, const Ort::TypeInfo& info) {
        const auto tensor = info.GetTensorTypeAndShapeInfo();
        const std::map<ONNXTensorElementDataType, DataType> types{
            {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, DataType::kUINT8},
            {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, DataType::kFLOAT},
            {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16, DataType::kHALF},
            {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, DataType::kINT32}};
        names.push_back(name);
        tensors[name] = {input, types.at(tensor.GetElementType()), tensor.GetShape()};
    }
    bool free_size() const { return tensors.at("image").shape[1] < 0; }
    Dims shape(const char* name, std::int64_t height, std::int64_t width) const {
        Dims dims{};
        for (const std::int64_t side : tensors.at(name).shape)
            dims.d[dims.nbDims++] = side;
        if (height && dims.d[0] < 0) dims.d[0] = 1;
        if (height) dims.d[1] = height, dims.d[2] = width;
        return dims;
    }
    std::int32_t getNbIOTensors() const noexcept override {
        return static_cast<std::int32_t>(names.size());
    }
    char const* getIOTensorName(std::int32_t index) const noexcept override {
        return names[static_cast<std::size_t>(index)].c_str();
    }
    TensorIOMode getTensorIOMode(char const* name) const noexcept override {
        return tensors.at(name).input ? TensorIOMode::kINPUT : TensorIOMode::kOUTPUT;
    }
    DataType getTensorDataType(char const* name) const noexcept override {
        return tensors.at(name).type;
    }
    Dims getTensorShape(char const* name) const noexcept override {
        return shape(name, 0, 0);
    }
    Dims getProfileShape(char const* name, std::int32_t,
                         OptProfileSelector select) const noexcept override {
        const std::size_t at = select == OptProfileSelector::kMIN ? 0 : 2;
        return shape(name, ends[at], ends[at + 1]);
    }
    IExecutionContext* createExecutionContext() noexcept override {
        return new Context(*this);
    }

    ILogger& logger;
    std::vector<std::int64_t> ends;  // min H and W, max H and W
    Ort::Session session;
    std::vector<std::string> names;
    std::map<std::string, Tensor> tensors;
};

bool Context::setInputShape(char const* name, Dims const& dims) noexcept {
    if (engine_.free_size() && !has_profile_) return false;
    const std::vector<std::int64_t>& e = engine_.ends;
    if (engine_.free_size() &&
        (dims.d[1] < e[0] || dims.d[2] < e[1] || dims.d[1] > e[2] || dims.d[2] > e[3]))
        return false;
    shapes_[name].assign(dims.d, dims.d + dims.nbDims);
    return true;
}

bool Context::enqueueV3(cudaStream_t stream) noexcept {
    if (stream->device != current || std::getenv("FAKE_FAILS")) {
        engine_.logger.log(ILogger::Severity::kERROR, "the stand-in fails.");
        engine_.logger.log(ILogger::Severity::kWARNING, "and has more to say");
        return false;
    }
    stream->work.emplace_back([this] { return run(); });
    return true;
}

bool Context::run() {
    const auto memory =
        Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    Ort::IoBinding binding(engine_.session);
    for (const auto& [name, tensor] : engine_.tensors) {
        std::vector<std::int64_t> shape = tensor.shape;
        if (tensor.input) shape = shapes_.at(name);
        shape[0] = 1;
        std::size_t size = tensor.type == DataType::kUINT8  ? 1
                           : tensor.type == DataType::kHALF ? 2
                                                            : 4;
        for (const std::int64_t side : shape) size *= static_cast<std::size_t>(side);
        void* address = addresses_.at(name);
        if (!holds(address, size, current)) return false;
        const std::map<DataType, ONNXTensorElementDataType> types{
            {DataType::kUINT8, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8},
            {DataType::kFLOAT, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
            {DataType::kHALF, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16},
            {DataType::kINT32, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32}};
        const Ort::Value value = Ort::Value::CreateTensor(
            memory, address, size, shape.data(), shape.size(), types.at(tensor.type));
        if (tensor.input)
            binding.BindInput(name.c_str(), value);
        else
            binding.BindOutput(name.c_str(), value);
    }
    engine_.session.Run(Ort::RunOptions{nullptr}, binding);
    return true;
}

struct Runtime final : IRuntime, Counted {
    explicit Runtime(ILogger& logger) : logger_(logger) {}
    ICudaEngine* deserializeCudaEngine(void const* blob,
                                       std::size_t size) noexcept override {
        std::istringstream text(std::string(static_cast<const char*>(blob), size));
        std::string magic, path;
        std::vector<std::int64_t> ends(4);
        text >> magic >> path >> ends[0] >> ends[1] >> ends[2] >> ends[3];
        if (magic == "FAKE") return new Engine(logger_, path, ends);
        logger_.log(ILogger::Severity::kERROR, "the plan is of another version.");
        return nullptr;
    }

private:
    ILogger& logger_;
};

}  // namespace

IRuntime* createInferRuntime(ILogger& logger) noexcept { return new Runtime(logger); }

}  // namespace nvinfer1
