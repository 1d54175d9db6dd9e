// CUDA device, memory and stream with owners that free them.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include <cuda_runtime_api.h>

#include "kpextract.hpp"

namespace kpextract {

inline void check_cuda(cudaError_t status, const char* what) {
    if (status != cudaSuccess)
        throw BackendUnavailableError(std::string(what) + ": CUDA says " +
                                      cudaGetErrorString(status) + ".");
}

// Makes the engine's device current inside the block, and restores the caller's after it.
// A device that fails is reported by the calls inside.
class OnDevice {
public:
    explicit OnDevice(int device) {
        cudaGetDevice(&before_);
        cudaSetDevice(device);
    }
    ~OnDevice() { cudaSetDevice(before_); }
    OnDevice(const OnDevice&) = delete;
    OnDevice& operator=(const OnDevice&) = delete;

private:
    int before_ = 0;
};

struct Free {
    void operator()(void* memory) const { cudaFree(memory); }
};
struct FreePinned {
    void operator()(void* memory) const { cudaFreeHost(memory); }
};
struct DestroyStream {
    void operator()(cudaStream_t stream) const { cudaStreamDestroy(stream); }
};
using Stream = std::unique_ptr<CUstream_st, DestroyStream>;

// Memory for one tensor at its maximum size: on the device, and pinned on the host.
struct Buffer {
    std::unique_ptr<void, Free> device;
    std::unique_ptr<void, FreePinned> host;

    explicit Buffer(std::size_t size) {
        void* memory = nullptr;
        check_cuda(cudaMalloc(&memory, size), "cudaMalloc");
        device.reset(memory);
        check_cuda(cudaHostAlloc(&memory, size, cudaHostAllocDefault), "cudaHostAlloc");
        host.reset(memory);
    }
    template <class T>
    T* as() const {
        return static_cast<T*>(host.get());
    }
};

}  // namespace kpextract
