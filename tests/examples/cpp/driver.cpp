// Runs an extractor for test_cpp.py.
//   driver extract MODEL OUT IMAGE [--mask IMAGE] [--roi X Y W H] [--max K] [--min
//   SCORE]
//                  [--distance PIXELS] [--threads N] [--feature2d] [--describe-given]
//   driver share MODEL IMAGE IMAGE     two threads with one extractor
//   driver reuse MODEL IMAGE IMAGE     one Features for images of two sizes
//   driver leak                        leaks memory, which a sanitizer must detect
// Prints the class and message of an error on standard error, and exits with 3.
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <thread>

#include <opencv2/imgcodecs.hpp>

#include "feature2d.hpp"

#ifdef KPEXTRACT_TENSORRT
#include "fake.hpp"
#include "trt_extractor.hpp"
using Extractor = kpextract::TrtExtractor;
#else
using Extractor = kpextract::Extractor;
#endif
using kpextract::Features;

namespace {

#ifdef KPEXTRACT_TENSORRT
int& device() { return fake_device(); }
#else
int& device() {
    static int none = 0;
    return none;
}
#endif

using Words = std::vector<std::string>;

// Reads a picture, or the matrix "m" of any type from a .yml file.
cv::Mat read(const std::string& path) {
    if (path.find(".yml") == std::string::npos)
        return cv::imread(path, cv::IMREAD_UNCHANGED);
    cv::Mat matrix;
    cv::FileStorage(path, cv::FileStorage::READ)["m"] >> matrix;
    return matrix;
}

void write(const std::string& path, const Features& features) {
    std::ofstream file(path, std::ios::binary);
    const cv::Mat& descriptors = features.descriptors;
    const std::int32_t shape[] = {static_cast<int>(features.keypoints.size()),
                                  descriptors.rows, descriptors.cols,
                                  descriptors.type()};
    file.write(reinterpret_cast<const char*>(shape), sizeof shape);
    for (const cv::KeyPoint& k : features.keypoints) {
        const float row[] = {k.pt.x, k.pt.y, k.size, k.angle, k.response};
        file.write(reinterpret_cast<const char*>(row), sizeof row);
    }
    if (!descriptors.empty())
        file.write(reinterpret_cast<const char*>(descriptors.data),
                   static_cast<std::streamsize>(descriptors.total() * 4));
}

Features by_feature2d(const std::string& model, const kpextract::Options& options,
                      const cv::Mat& image, const cv::Mat& mask, bool describe_given) {
    const cv::Ptr<cv::Feature2D> detector =
        kpextract::KpextractFeature2D::create<Extractor>(model, options);
    Features features;
    if (describe_given)
        detector->compute(image, features.keypoints, features.descriptors);
    detector->detectAndCompute(image, mask, features.keypoints, features.descriptors);
    std::vector<cv::KeyPoint> detected;
    detector->detect(image, detected, mask);
    std::cout << detected.size() << " " << detector->descriptorSize() << " "
              << detector->descriptorType() << " " << detector->defaultNorm() << " "
              << detector->empty() << " " << detector->getDefaultName() << "\n";
    return features;
}

void extract(const Words& words) {
    std::map<std::string, Words> given{{"--mask", {}}};
    std::string name;
    for (std::size_t i = 3; i < words.size(); ++i)
        if (words[i].rfind("--", 0) == 0)
            given[name = words[i]];
        else
            given[name].push_back(words[i]);
    kpextract::Options options;
    if (given.count("--max")) options.max_keypoints = std::stoi(given["--max"][0]);
    if (given.count("--min")) options.min_score = std::stof(given["--min"][0]);
    if (given.count("--distance"))
        options.min_distance = std::stof(given["--distance"][0]);
    if (given.count("--threads"))
        options.num_threads = std::stoi(given["--threads"][0]);
    cv::Mat image = read(given[""][0]);
    cv::Mat mask = given["--mask"].empty() ? cv::Mat() : read(given["--mask"][0]);
    if (given.count("--roi")) {
        const Words& r = given["--roi"];
        const cv::Rect rectangle(std::stoi(r[0]), std::stoi(r[1]), std::stoi(r[2]),
                                 std::stoi(r[3]));
        image = image(rectangle);
        if (!mask.empty()) mask = mask(rectangle);
    }
    if (given.count("--feature2d")) {
        write(words[2], by_feature2d(words[1], options, image, mask,
                                     given.count("--describe-given") > 0));
        return;
    }
    Extractor extractor(words[1], options);
    write(words[2], extractor.extract(image, mask));
    const kpextract::Info& info = extractor.info();
    for (const std::string& fact : {info.backend, info.device, info.precision,
                                    info.model, info.version, info.sha256})
        std::cout << fact << "\n";
}

bool same(const Features& a, const Features& b) {
    const auto bits = [](const Features& f) {
        std::vector<float> all;
        for (const cv::KeyPoint& k : f.keypoints)
            all.insert(all.end(), {k.pt.x, k.pt.y, k.response});
        for (int i = 0; i < f.descriptors.rows; ++i)
            all.insert(all.end(), f.descriptors.ptr<float>(i),
                       f.descriptors.ptr<float>(i) + f.descriptors.cols);
        return all;
    };
    return bits(a) == bits(b);
}

// Prints how many of 40 calls from two threads, each with its own image, differ from a
// single call.
void share(const Words& words) {
    Extractor extractor(words[1]);
    int wrong[2] = {0, 0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i) {
        const cv::Mat image = read(words[static_cast<std::size_t>(2 + i)]);
        const Features alone = extractor.extract(image);
        threads.emplace_back([&extractor, &wrong, i, image, alone] {
            for (int call = 0; call < 20; ++call)
                wrong[i] += !same(alone, extractor.extract(image));
            wrong[i] += device() != 0;  // new threads start on the first device
        });
    }
    for (std::thread& thread : threads) thread.join();
    std::cout << wrong[0] + wrong[1] << "\n";
}

// Prints how many of six calls into one Features, with changing image sizes, differ from
// a call into a new one.
void reuse(const Words& words) {
    Extractor extractor(words[1]);
    const cv::Mat images[] = {read(words[2]), read(words[3])};
    const Features alone[] = {extractor.extract(images[0]),
                              extractor.extract(images[1])};
    Features out;
    int wrong = 0;
    for (int i = 0; i < 6; ++i) {
        extractor.extract(images[i % 2], {}, out);
        wrong += !same(alone[i % 2], out);
    }
    std::cout << wrong << "\n";
}

void leak(const Words&) {
    static std::vector<int>* volatile lost = new std::vector<int>(1000);
    std::cout << lost->size() << "\n";
    lost = nullptr;
}

template <class Kind>
bool is(const std::exception& error) {
    return dynamic_cast<const Kind*>(&error) != nullptr;
}

std::string name_of(const std::exception& error) {
    if (!is<std::runtime_error>(error) || !is<kpextract::Error>(error))
        return "unknown";
    if (is<kpextract::InvalidImageError>(error)) return "InvalidImageError";
    if (is<kpextract::InvalidOptionError>(error)) return "InvalidOptionError";
    if (is<kpextract::ModelError>(error)) return "ModelError";
    return "BackendUnavailableError";
}

int run(const Words& words) {
    const std::map<std::string, void (*)(const Words&)> commands{
        {"extract", extract}, {"share", share}, {"reuse", reuse}, {"leak", leak}};
    try {
        commands.at(words.at(0))(words);
    } catch (const std::exception& error) {
        std::cerr << name_of(error) << ": " << error.what() << "\n";
        return 3;
    }
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
#ifdef KPEXTRACT_TENSORRT
    device() = 1;  // an engine uses the device of the thread that loads it
    const int code = run(Words(argv + 1, argv + argc));
    if (const int live = fake_live()) {
        std::cerr << live << " things of CUDA or TensorRT were not freed\n";
        return 4;
    }
    return device() == 1 ? code : 5;
#else
    return run(Words(argv + 1, argv + argc));
#endif
}
