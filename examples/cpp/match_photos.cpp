// Matches two photos and finds the fundamental matrix that the matches agree on, as
// programs for ORB do: only one line and its `#include` differ.
#include <exception>
#include <iostream>

#include <opencv2/calib3d.hpp>
#include <opencv2/features2d.hpp>
#include <opencv2/imgcodecs.hpp>

#include "feature2d.hpp"

int main(int argc, char** argv) try {
    if (argc != 4 && argc != 5) {
        std::cerr << "usage: " << argv[0] << " MODEL PHOTO PHOTO [DRAWING]\n";
        return 2;
    }
    const cv::Mat image0 = cv::imread(argv[2]), image1 = cv::imread(argv[3]);

    // was: cv::Ptr<cv::Feature2D> detector = cv::ORB::create(1024);
    cv::Ptr<cv::Feature2D> detector = kpextract::KpextractFeature2D::create(argv[1]);

    std::vector<cv::KeyPoint> keypoints0, keypoints1;
    cv::Mat descriptors0, descriptors1;
    detector->detectAndCompute(image0, cv::noArray(), keypoints0, descriptors0);
    detector->detectAndCompute(image1, cv::noArray(), keypoints1, descriptors1);

    const cv::BFMatcher matcher(detector->defaultNorm(), /*crossCheck=*/true);
    std::vector<cv::DMatch> matches;
    if (!keypoints0.empty() && !keypoints1.empty())
        matcher.match(descriptors0, descriptors1, matches);

    std::vector<cv::Point2f> points0, points1;
    for (const cv::DMatch& match : matches) {
        points0.push_back(keypoints0[static_cast<std::size_t>(match.queryIdx)].pt);
        points1.push_back(keypoints1[static_cast<std::size_t>(match.trainIdx)].pt);
    }
    // As in kpextract/geometry.py. cv::findHomography takes the same numbers in another
    // order, for a flat scene or a camera that only turned.
    const double threshold = 3.0, confidence = 0.9999;  // pixels, probability
    const int max_iterations = 10000;
    const std::size_t min_matches = 8;
    cv::Mat fundamental, inliers;
    if (matches.size() >= min_matches)
        fundamental =
            cv::findFundamentalMat(points0, points1, cv::USAC_MAGSAC, threshold,
                                   confidence, max_iterations, inliers);
    std::cout << matches.size() << " matches, " << cv::countNonZero(inliers)
              << " agree on\n"
              << fundamental << "\n";
    if (argc == 5) {
        cv::Mat drawing;
        cv::drawMatches(image0, keypoints0, image1, keypoints1, matches, drawing,
                        cv::Scalar(0, 200, 0), cv::Scalar::all(-1), inliers,
                        cv::DrawMatchesFlags::NOT_DRAW_SINGLE_POINTS);
        cv::imwrite(argv[4], drawing);
    }
} catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 2;
}
