// Counts the heap allocations of all libraries, by a malloc defined in the program.
// Arguments: MODEL IMAGE MASK [PIXELS]; the model takes masks, PIXELS is the minimum
// distance. Prints the number of allocations in
// FRAMES calls, the minimum of several turns, since ONNX Runtime occasionally makes
// more:
//   bare      ONNX Runtime alone, bound as the extractor binds it
//   extract   extract(image, mask, out) after a first call with few keypoints
//   by value  extract(image, mask), which returns new features
//   resized   extract(image, mask, out), with another image size in each call
#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <iostream>

#include <onnxruntime_cxx_api.h>
#include <opencv2/imgcodecs.hpp>

#include "kpextract.hpp"

namespace {

long allocations = 0;  // one thread only

void* counted(void* memory) {
    ++allocations;
    return memory;
}

constexpr int FRAMES = 6, TURNS = 6;

template <class Start, class Call>
void report(const char* name, Start start, Call call) {
    long least = LONG_MAX;
    for (int turn = 0; turn < TURNS; ++turn) {
        start();
        const long before = allocations;
        for (int frame = 0; frame < FRAMES; ++frame) call(frame);
        least = std::min(least, allocations - before);
    }
    std::cout << name << ": " << least << "\n";
}

void run_bare(const char* model, const cv::Mat& image, const cv::Mat& mask) {
    const Ort::Env env;
    Ort::SessionOptions options;
    options.SetIntraOpNumThreads(1);
    Ort::Session session(env, model, options);
    Ort::IoBinding binding(session);
    const auto memory =
        Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    const auto bind = [&](const char* name, const cv::Mat& data,
                          const std::vector<std::int64_t>& shape) {
        binding.BindInput(name, Ort::Value::CreateTensor<std::uint8_t>(
                                    memory, data.data, data.total() * data.elemSize(),
                                    shape.data(), shape.size()));
    };
    bind("image", image, {1, image.rows, image.cols, 3});
    if (session.GetInputCount() > 1) bind("mask", mask, {1, image.rows, image.cols});
    Ort::AllocatorWithDefaultOptions allocator;
    std::vector<std::vector<float>> outputs(session.GetOutputCount());
    for (std::size_t i = 0; i < outputs.size(); ++i) {
        const Ort::TypeInfo type = session.GetOutputTypeInfo(i);
        const auto tensor = type.GetTensorTypeAndShapeInfo();
        std::vector<std::int64_t> shape = tensor.GetShape();
        // What is free is the batch, and height and width of dense maps.
        const std::int64_t free[] = {1, 0, image.rows / 8, image.cols / 8};
        std::size_t size = 1;
        for (std::size_t axis = 0; axis < shape.size(); ++axis) {
            if (shape[axis] < 0) shape[axis] = free[axis];
            size *= static_cast<std::size_t>(shape[axis]);
        }
        outputs[i].resize(size);  // of 4 bytes each, floats or integers
        binding.BindOutput(
            session.GetOutputNameAllocated(i, allocator).get(),
            Ort::Value::CreateTensor(memory, outputs[i].data(), 4 * size, shape.data(),
                                     shape.size(), tensor.GetElementType()));
    }
    const auto run = [&](int) { session.Run(Ort::RunOptions{nullptr}, binding); };
    report("bare", [&] { run(0); }, run);
}

}  // namespace

extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
void* malloc(std::size_t size) { return counted(__libc_malloc(size)); }
void* calloc(std::size_t n, std::size_t size) {
    return counted(__libc_calloc(n, size));
}
void* realloc(void* old, std::size_t size) {
    return counted(__libc_realloc(old, size));
}
void* memalign(std::size_t alignment, std::size_t size) {
    return counted(__libc_memalign(alignment, size));
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
    return memalign(alignment, size);
}
int posix_memalign(void** made, std::size_t alignment, std::size_t size) {
    *made = memalign(alignment, size);
    return *made ? 0 : ENOMEM;
}
}

int main(int argc, char** argv) {
    const cv::Mat image = cv::imread(argv[2]);
    const cv::Mat mask = cv::imread(argv[3], cv::IMREAD_GRAYSCALE);
    run_bare(argv[1], image, mask);

    kpextract::Options options;
    options.num_threads = 1;
    if (argc > 4) options.min_distance = std::stof(argv[4]);
    kpextract::Extractor extractor(argv[1], options);
    kpextract::Features out;
    std::size_t fewest = SIZE_MAX, most = 0;
    const auto extract = [&](int frame) {
        extractor.extract(image, frame % 2 ? mask : cv::Mat(), out);
        fewest = std::min(fewest, out.keypoints.size());
        most = std::max(most, out.keypoints.size());
    };
    const auto start = [&] {
        out = {};
        extract(1);
    };
    report("extract", start, extract);
    report("by value", start, [&](int) { extractor.extract(image, mask); });
    report("resized", start, [&](int frame) {
        extractor.extract(image.rowRange(0, image.rows - 8 * (1 + frame % 2)), {}, out);
    });
    std::cout << "keypoints: " << fewest << " to " << most << "\n";
}
