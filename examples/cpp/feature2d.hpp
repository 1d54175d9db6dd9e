// kpextract as a cv::Feature2D: replaces cv::ORB::create() in existing code.
#pragma once

#include <utility>

#if __has_include(<opencv2/features.hpp>)  // OpenCV 5
#include <opencv2/features.hpp>
#else
#include <opencv2/features2d.hpp>
#endif

#include "kpextract.hpp"

namespace kpextract {

// Descriptors are float: match them with defaultNorm(), cv::NORM_L2.
class KpextractFeature2D : public cv::Feature2D {
public:
    // Loads an .onnx file, or an engine by create<TrtExtractor>; throws as they do.
    template <class From = Extractor>
    static cv::Ptr<KpextractFeature2D> create(const std::string& model_path,
                                              const Options& options = {}) {
        return std::make_shared<KpextractFeature2D>(
            std::make_unique<From>(model_path, options));
    }

    explicit KpextractFeature2D(std::unique_ptr<Extractor> extractor)
        : extractor_(std::move(extractor)) {}

    void detectAndCompute(cv::InputArray image, cv::InputArray mask,
                          std::vector<cv::KeyPoint>& keypoints,
                          cv::OutputArray descriptors,
                          bool useProvidedKeypoints = false) override {
        if (useProvidedKeypoints)
            throw InvalidOptionError(
                "this network detects and describes in one pass, and cannot describe "
                "given keypoints (compute, or useProvidedKeypoints = true). Call "
                "detectAndCompute and use its own keypoints.");
        Features features = extractor_->extract(image.getMat(), mask.getMat());
        keypoints = std::move(features.keypoints);
        if (descriptors.needed()) features.descriptors.copyTo(descriptors);
    }

    int descriptorSize() const override { return extractor_->descriptor_dim(); }
    int descriptorType() const override { return CV_32F; }
    int defaultNorm() const override { return cv::NORM_L2; }
    bool empty() const override { return false; }
    cv::String getDefaultName() const override { return "Feature2D.Kpextract"; }

private:
    std::unique_ptr<Extractor> extractor_;
};

}  // namespace kpextract
