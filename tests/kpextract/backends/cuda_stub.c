/* Stands in for libcuda.so.1, NVIDIA's driver, so that cuda-python's own functions run
   where there is no GPU. As strict as a driver: nothing works without a current
   context, and what goes into a stream in capture is recorded, not done. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS, INVALID_VALUE, OUT_OF_MEMORY, NO_DEVICE = 100, INVALID_CONTEXT = 201,
       INVALID_HANDLE = 400, NOT_FOUND = 500 };
enum { MOST = 64 }; /* copies in a graph */
typedef struct { void *target; const void *source; size_t size; } Copy;
typedef struct { int count; Copy copies[MOST]; } Work;
typedef struct { int capturing; Work recorded; } Stream;

static _Thread_local int depth; /* contexts current in this thread */
static int context, live, retained, flags_given;
int stub_live(void) { return live; }           /* allocations, streams and graphs */
int stub_depth(void) { return depth; }
int stub_retained(void) { return retained; }
int stub_stream_flags(void) { return flags_given; }
#define CURRENT if (depth != 1) return INVALID_CONTEXT

int cuInit(unsigned flags) { return getenv("STUB_NO_DEVICE") ? NO_DEVICE : SUCCESS; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return SUCCESS; }
int cuDeviceGetName(char *name, int length, int device) {
    strncpy(name, "Stub GPU", length);
    return SUCCESS;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 75 ? 8 : attribute == 76 ? 7 : -1;
    return SUCCESS;
}
int cuDevicePrimaryCtxRetain(void **made, int device) {
    retained++;
    *made = &context;
    return SUCCESS;
}
int cuCtxPushCurrent(void *given) {
    if (given != &context) return INVALID_CONTEXT;
    depth++;
    return SUCCESS;
}
int cuCtxPopCurrent(void **popped) {
    if (!depth) return INVALID_CONTEXT;
    depth--;
    *popped = &context;
    return SUCCESS;
}
int cuMemGetInfo(size_t *unused, size_t *total) {
    CURRENT;
    *unused = 3 << 20;
    *total = 4 << 20;
    return SUCCESS;
}
static int take(void **made, size_t size) {
    CURRENT;
    if (size > 1 << 20) return OUT_OF_MEMORY;
    *made = calloc(1, size);
    live++;
    return SUCCESS;
}
static int give(void *made) {
    CURRENT;
    free(made);
    live--;
    return SUCCESS;
}
int cuMemAlloc(uint64_t *made, size_t size) { return take((void **)made, size); }
int cuMemFree(uint64_t made) { return give((void *)made); }
int cuMemHostAlloc(void **made, size_t size, unsigned flags) {
    return take(made, size);
}
int cuMemFreeHost(void *made) { return give(made); }
int cuStreamCreate(void **made, unsigned flags) {
    flags_given = flags;
    return take(made, sizeof(Stream));
}
int cuStreamDestroy(void *stream) { return give(stream); }
int cuStreamSynchronize(Stream *stream) {
    CURRENT;
    return stream->capturing ? INVALID_HANDLE : SUCCESS;
}
static int copy(void *target, const void *source, size_t size, Stream *stream) {
    CURRENT;
    if (!stream->capturing) memcpy(target, source, size);
    else {
        Work *work = &stream->recorded;
        work->copies[work->count++] = (Copy){target, source, size};
    }
    return SUCCESS;
}
int cuMemcpyHtoDAsync(uint64_t target, const void *source, size_t size,
                      Stream *stream) {
    return copy((void *)target, source, size, stream);
}
int cuMemcpyDtoHAsync(void *target, uint64_t source, size_t size, Stream *stream) {
    return copy(target, (void *)source, size, stream);
}
int cuStreamBeginCapture(Stream *stream, int mode) {
    CURRENT;
    stream->capturing = 1;
    stream->recorded.count = 0;
    return SUCCESS;
}
int cuStreamEndCapture(Stream *stream, void **graph) {
    CURRENT;
    stream->capturing = 0;
    int status = take(graph, sizeof(Work));
    if (!status) memcpy(*graph, &stream->recorded, sizeof(Work));
    return status;
}
int cuGraphInstantiateWithFlags(void **made, Work *graph, unsigned long long flags) {
    int status = take(made, sizeof(Work));
    if (!status) memcpy(*made, graph, sizeof(Work));
    return status;
}
int cuGraphDestroy(void *graph) { return give(graph); }
int cuGraphExecDestroy(void *graph) { return give(graph); }
int cuGraphLaunch(Work *graph, Stream *stream) {
    CURRENT;
    for (int i = 0; i < graph->count; i++)
        memcpy(graph->copies[i].target, graph->copies[i].source, graph->copies[i].size);
    return SUCCESS;
}
int cuGetErrorString(int error, const char **text) {
    *text = "stub";
    return SUCCESS;
}

#define ENTRY(name) {#name, (void *)name}
static const struct { const char *name; void *function; } TABLE[] = {
    ENTRY(cuInit), ENTRY(cuDeviceGet), ENTRY(cuDeviceGetName),
    ENTRY(cuDeviceGetAttribute), ENTRY(cuDevicePrimaryCtxRetain),
    ENTRY(cuCtxPushCurrent), ENTRY(cuCtxPopCurrent), ENTRY(cuMemGetInfo),
    ENTRY(cuMemAlloc), ENTRY(cuMemFree), ENTRY(cuMemHostAlloc), ENTRY(cuMemFreeHost),
    ENTRY(cuStreamCreate), ENTRY(cuStreamDestroy), ENTRY(cuStreamSynchronize),
    ENTRY(cuMemcpyHtoDAsync), ENTRY(cuMemcpyDtoHAsync), ENTRY(cuStreamBeginCapture),
    ENTRY(cuStreamEndCapture), ENTRY(cuGraphInstantiateWithFlags),
    ENTRY(cuGraphDestroy), ENTRY(cuGraphExecDestroy), ENTRY(cuGraphLaunch), ENTRY(cuGetErrorString),
};
int cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags,
                        int *status) {
    for (size_t i = 0; i < sizeof(TABLE) / sizeof(*TABLE); i++)
        if (!strcmp(TABLE[i].name, name)) {
            *function = TABLE[i].function;
            return SUCCESS;
        }
    *function = 0;
    return NOT_FOUND;
}
int cuGetProcAddress(const char *name, void **function, int version, uint64_t flags) {
    return cuGetProcAddress_v2(name, function, version, flags, 0);
}
