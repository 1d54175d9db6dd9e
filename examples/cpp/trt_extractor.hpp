// The same extractor on TensorRT or TensorRT-RTX. Not yet run on a GPU: tested with a
// fake of both.
#pragma once

#include "kpextract.hpp"

namespace kpextract {

class TrtExtractor : public Extractor {
public:
    // Loads an .engine file and the .engine.json beside it, both written by
    // `kpextract build`, on the current CUDA device of the calling thread.
    // Throws ModelError, InvalidOptionError or BackendUnavailableError.
    explicit TrtExtractor(const std::string& engine_path, const Options& options = {});
};

}  // namespace kpextract
