// Times the network alone and the extractor around it, in turns, on one photo.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <iostream>

#include <onnxruntime_cxx_api.h>
#include <opencv2/imgcodecs.hpp>

#include "kpextract.hpp"

namespace {

constexpr int WARM_UPS = 5;

// ONNX Runtime alone, whose outputs it allocates itself.
class Network {
public:
    Network(const char* model, const cv::Mat& image, int threads)
        : session_(open(model, threads)), binding_(session_), image_(image.clone()) {
        const auto memory =
            Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
        const std::int64_t shape[] = {1, image.rows, image.cols, 3};
        binding_.BindInput("image", Ort::Value::CreateTensor<std::uint8_t>(
                                        memory, image_.data,
                                        image_.total() * image_.elemSize(), shape, 4));
        Ort::AllocatorWithDefaultOptions allocator;
        for (std::size_t i = 0; i < session_.GetOutputCount(); ++i)
            binding_.BindOutput(session_.GetOutputNameAllocated(i, allocator).get(),
                                memory);
    }
    void run() { session_.Run(Ort::RunOptions{nullptr}, binding_); }

private:
    static Ort::Session open(const char* model, int threads) {
        static Ort::Env environment;
        Ort::SessionOptions options;
        options.SetIntraOpNumThreads(threads);
        return {environment, model, options};
    }

    Ort::Session session_;
    Ort::IoBinding binding_;
    cv::Mat image_;
};

template <class Call>
double milliseconds(Call call) {
    const auto started = std::chrono::steady_clock::now();
    call();
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() -
                                                     started)
        .count();
}

double median(std::vector<double> values) {
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
}

void bench(const char* model, const cv::Mat& image, int threads, int rounds) {
    kpextract::Options options;
    options.max_keypoints = 1000;
    options.min_score = 0.0F;
    options.num_threads = threads;
    kpextract::Extractor extractor(model, options);  // first: it stops telemetry
    Network network(model, image, threads);
    kpextract::Features features;
    std::vector<double> alone, whole, around;
    for (int i = -WARM_UPS; i < rounds; ++i) {
        const double before = milliseconds([&] { network.run(); });
        const double after =
            milliseconds([&] { extractor.extract(image, {}, features); });
        if (i < 0) continue;
        alone.push_back(before);
        whole.push_back(after);
        around.push_back(after - before);
    }
    std::printf("%s: network %.3f ms, extract %.3f ms, around the network %.3f ms\n",
                model, median(alone), median(whole), median(around));
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 5) {
        std::cerr << "usage: " << argv[0] << " PHOTO THREADS ROUNDS MODEL...\n"
                  << "PHOTO: sides are multiples of 8\n";
        return 2;
    }
    try {
        const cv::Mat image = cv::imread(argv[1]);
        for (int i = 4; i < argc; ++i)
            bench(argv[i], image, std::stoi(argv[2]), std::stoi(argv[3]));
    } catch (const std::exception& error) {
        std::cerr << error.what() << "\n";
        return 2;
    }
    return 0;
}
