// Counts the heap allocations of all libraries, by a malloc defined in the program.
// Arguments: MODEL IMAGE MASK; the model takes masks. Prints the number of allocations in
// FRAMES calls, the minimum of several turns, since ONNX Runtime occasionally makes more:
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
                          ONNXTensorElementDataType type,
                          const std::vector<std::int64_t>& shape) {
        Ort::Value value =
            Ort::Value::CreateTensor(memory, data.data, data.total() * data.elemSize(),
                                     shape.data(), shape.size(), type);
        if (std::string(name) == "image" || std::string(name) == "mask")
            binding.BindInput(name, value);
        else
            binding.BindOutput(name, value);
    };
    const auto rows =
        session.GetOutputTypeInfo(2).GetTensorTypeAndShapeInfo().GetShape();
    const int k = static_cast<int>(rows[1]), d = static_cast<int>(rows[2]);
    const cv::Mat keypoints(k, 2, CV_32F), scores(k, 1, CV_32F),
        descriptors(k, d, CV_32F);
    const cv::Mat count(1, 1, CV_32S);
    bind("image", image, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
         {1, image.rows, image.cols, 3});
    bind("mask", mask, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
         {1, image.rows, image.cols});
    bind("keypoints", keypoints, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, {1, k, 2});
    bind("scores", scores, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, {1, k});
    bind("descriptors", descriptors, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, {1, k, d});
    bind("count", count, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, {1});
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

int main(int, char** argv) {
    const cv::Mat image = cv::imread(argv[2]);
    const cv::Mat mask = cv::imread(argv[3], cv::IMREAD_GRAYSCALE);
    run_bare(argv[1], image, mask);

    kpextract::Options options;
    options.num_threads = 1;
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
