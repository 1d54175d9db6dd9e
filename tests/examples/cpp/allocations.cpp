// Counts heap allocations, of every library: a malloc that is defined in the program comes
// first. MODEL IMAGE MASK FRAMES; the model takes masks. Prints one number a line, all of
// FRAMES calls but the last:
//   bare      ONNX Runtime alone, bound as the extractor binds it
//   extract   extract(image, mask, out) after the first, the number of keypoints changing
//   by value  extract(image, mask), which makes new features
//   resized   one call of the second with an image of another size
#include <algorithm>
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

template <class Call>
void report(const char* name, int times, Call call) {
    const long before = allocations;
    for (int i = 0; i < times; ++i) call(i);
    const long after = allocations;
    std::cout << name << ": " << after - before << "\n";
}

void run_bare(const char* model, const cv::Mat& image, const cv::Mat& mask, int frames) {
    const Ort::Env env;
    Ort::SessionOptions options;
    options.SetIntraOpNumThreads(1);
    Ort::Session session(env, model, options);
    Ort::IoBinding binding(session);
    const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
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
    const auto rows = session.GetOutputTypeInfo(2).GetTensorTypeAndShapeInfo().GetShape();
    const int k = static_cast<int>(rows[1]), d = static_cast<int>(rows[2]);
    const cv::Mat keypoints(k, 2, CV_32F), scores(k, 1, CV_32F), descriptors(k, d, CV_32F);
    const cv::Mat count(1, 1, CV_32S);
    bind("image", image, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
         {1, image.rows, image.cols, 3});
    bind("mask", mask, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, {1, image.rows, image.cols});
    bind("keypoints", keypoints, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, {1, k, 2});
    bind("scores", scores, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, {1, k});
    bind("descriptors", descriptors, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, {1, k, d});
    bind("count", count, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, {1});
    const auto run = [&](int) { session.Run(Ort::RunOptions{nullptr}, binding); };
    for (int i = 0; i < 3; ++i) run(i);  // ONNX Runtime plans its memory
    report("bare", frames, run);
}

}  // namespace

extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
void* malloc(std::size_t size) { return counted(__libc_malloc(size)); }
void* calloc(std::size_t n, std::size_t size) { return counted(__libc_calloc(n, size)); }
void* realloc(void* old, std::size_t size) { return counted(__libc_realloc(old, size)); }
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
    const int frames = std::atoi(argv[4]);
    run_bare(argv[1], image, mask, frames);

    kpextract::Options options;
    options.num_threads = 1;
    kpextract::Extractor extractor(argv[1], options);
    kpextract::Features out;
    std::size_t fewest = SIZE_MAX, most = 0;
    const auto extract = [&](int i) {
        extractor.extract(image, i % 2 ? mask : cv::Mat(), out);
        fewest = std::min(fewest, out.keypoints.size());
        most = std::max(most, out.keypoints.size());
    };
    for (int i = 0; i < 3; ++i) extract(1);  // the first frames have the fewest
    report("extract", frames, extract);
    report("by value", frames, [&](int) { extractor.extract(image, mask); });
    const cv::Mat shorter = image.rowRange(0, image.rows - 8);
    report("resized", 1, [&](int) { extractor.extract(shorter, {}, out); });
    std::cout << "keypoints: " << fewest << " to " << most << "\n";
}
