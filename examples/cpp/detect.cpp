// Prints the keypoints of a photo, one per line: x y score, best first.
#include <cstdio>
#include <exception>
#include <iostream>

#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#ifdef KPEXTRACT_TENSORRT
#include "trt_extractor.hpp"
using Extractor = kpextract::TrtExtractor;
#else
#include "kpextract.hpp"
using Extractor = kpextract::Extractor;
#endif

namespace {

void draw(cv::Mat image, const kpextract::Features& features, const char* path) {
    const int shift = 4;  // fractional bits of a pixel
    for (const cv::KeyPoint& keypoint : features.keypoints)
        cv::circle(image, keypoint.pt * (1 << shift), 3 << shift, {0, 255, 0}, 1,
                   cv::LINE_AA, shift);
    if (!cv::imwrite(path, image))
        throw kpextract::Error(std::string("OpenCV cannot write ") + path + ".");
}

void detect(const char* model, const char* photo, const char* drawing) {
    Extractor extractor(model);
    const cv::Mat image = cv::imread(photo, cv::IMREAD_COLOR);
    if (image.empty())
        throw kpextract::InvalidImageError(std::string(photo) +
                                           " is not an image that OpenCV can read.");
    const kpextract::Features features = extractor.extract(image);
    for (const cv::KeyPoint& keypoint : features.keypoints)
        std::printf("%.4f %.4f %.6f\n", keypoint.pt.x, keypoint.pt.y,
                    keypoint.response);
    if (drawing) draw(image, features, drawing);
    const kpextract::Info& info = extractor.info();
    std::cerr << features.keypoints.size() << " keypoints: " << info.model << " "
              << info.version << " on " << info.backend << ", " << info.device << "\n";
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3 && argc != 4) {
        std::cerr << "usage: " << argv[0] << " MODEL PHOTO [DRAWING]\n";
        return 2;
    }
    try {
        detect(argv[1], argv[2], argc == 4 ? argv[3] : nullptr);
    } catch (const std::exception& error) {
        std::cerr << error.what() << "\n";
        return 2;
    }
    return 0;
}
