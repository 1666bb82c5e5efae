// A program that has a GPU, as it believes.
//
// In: a scenario's name. Out: what the driver answered, a line each.
// Invariant: it knows the driver by its names alone, as any program does.

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <vector>

using Address = uint64_t;
extern "C" {
int cuInit(unsigned);
int cuDeviceGet(int *, int);
int cuDeviceGetCount(int *);
int cuDevicePrimaryCtxRetain(void **, int);
int cuCtxSetCurrent(void *);
int cuCtxSynchronize();
int cuMemAlloc_v2(Address *, size_t);
int cuMemFree_v2(Address);
int cuMemGetInfo_v2(size_t *, size_t *);
int cuMemHostAlloc(void **, size_t, unsigned);
int cuMemsetD8Async(Address, unsigned char, size_t, void *);
int cuMemcpyHtoDAsync_v2(Address, const void *, size_t, void *);
int cuMemcpyDtoHAsync_v2(void *, Address, size_t, void *);
int cuMemcpyDtoH_v2(void *, Address, size_t);
int cuStreamCreate(void **, unsigned);
int cuStreamSynchronize(void *);
int cuStreamBeginCapture_v2(void *, int);
int cuStreamEndCapture(void *, void **);
int cuGraphInstantiateWithFlags(void **, void *, unsigned long long);
int cuGraphLaunch(void *, void *);
int cuEventCreate(void **, unsigned);
int cuEventRecord(void *, void *);
int cuEventSynchronize(void *);
int cuEventElapsedTime(float *, void *, void *);
int cuModuleLoadData(void **, const void *);
int cuModuleGetFunction(void **, void *, const char *);
int cuFuncSetAttribute(void *, int, int);
int cuLaunchKernel(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **,
                   void **);
int cuLaunchCooperativeKernel(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *,
                              void **);
}

struct Step {
    uint64_t weights, arena, rows, outputs, logits, picks, allowed, counters, kv_capacity;
    uint32_t n_rows, n_outputs, max_rows, layer, kv_type, advance;
};
struct Row {
    int32_t token;
    uint32_t position;
    uint64_t kv;
    uint32_t adapter, reserved;
};

static void said(const char *what, long value) { std::printf("%s %ld\n", what, value); }

static void *stream, *module_;
static Step step;
static unsigned *pinned;

static Address allocate(size_t bytes) {
    Address at = 0;
    if (int code = cuMemAlloc_v2(&at, bytes)) said("alloc", code);
    return at;
}

static const char *image = ".version 9.0\n.target sm_80\n.address_size 64\n";

// A step whose `reduce` sums 64 words that are 1.
static void prepare() {
    cuStreamCreate(&stream, 1);
    if (int code = cuModuleLoadData(&module_, image)) said("load", code);
    cuMemHostAlloc(reinterpret_cast<void **>(&pinned), 4096, 0);
    step = {allocate(4096), allocate(4096), allocate(sizeof(Row)), 0, allocate(4096), 0, 0, allocate(256), 16, 1, 0, 4, 0, 0, 0};
    Row row = {1, 0, allocate(256), 0, 0};
    cuMemcpyHtoDAsync_v2(step.rows, &row, sizeof row, stream);
    for (int i = 0; i < 64; i++) pinned[i] = 1;
    cuMemcpyHtoDAsync_v2(step.weights, pinned, 256, stream);
    cuMemsetD8Async(step.counters, 0, 256, stream);
    cuStreamSynchronize(stream);
}

static int launch(const char *name, unsigned blocks, unsigned threads, unsigned shared) {
    void *function;
    if (int code = cuModuleGetFunction(&function, module_, name)) return code;
    void *parameters[] = {&step};
    return cuLaunchKernel(function, blocks, 1, 1, threads, 1, 1, shared, stream, parameters, nullptr);
}

static void when_launch(const std::string &) {
    said("launch", launch("reduce", 1, 64, 256));
    unsigned sum = 0;
    cuStreamSynchronize(stream);
    cuMemcpyDtoH_v2(&sum, step.logits, 4);
    said("sum", sum);
}

static void when_late(const std::string &) {
    pinned[64] = 0;
    launch("reduce", 1, 64, 256);
    cuMemcpyDtoHAsync_v2(pinned + 64, step.logits, 4, stream);
    said("before", pinned[64]);
    cuStreamSynchronize(stream);
    said("after", pinned[64]);
    for (int i = 0; i < 64; i++) pinned[i] = 2;
    cuMemcpyHtoDAsync_v2(step.weights, pinned, 256, stream);
    for (int i = 0; i < 64; i++) pinned[i] = 5;
    launch("reduce", 1, 64, 256);
    cuMemcpyDtoHAsync_v2(pinned + 64, step.logits, 4, stream);
    cuStreamSynchronize(stream);
    said("overwritten", pinned[64]);
}

static void when_graph(const std::string &) {
    void *graph, *instance;
    said("begin", cuStreamBeginCapture_v2(stream, 0));
    cuMemcpyHtoDAsync_v2(step.weights, pinned, 256, stream);
    said("launch", launch("reduce", 1, 64, 256));
    cuMemcpyDtoHAsync_v2(pinned + 64, step.logits, 4, stream);
    said("synchronize", cuStreamSynchronize(stream));
    Address at;
    said("alloc", cuMemAlloc_v2(&at, 16));
    said("end", cuStreamEndCapture(stream, &graph));
    said("instantiate", cuGraphInstantiateWithFlags(&instance, graph, 0));
    Address real = step.logits;
    step.logits = 0;
    for (unsigned value = 1; value < 4; value++) {
        for (int i = 0; i < 64; i++) pinned[i] = value;
        cuGraphLaunch(instance, stream);
        cuStreamSynchronize(stream);
        said("sum", pinned[64]);
    }
    step.logits = real;
}

static void when_events(const std::string &) {
    void *from, *until;
    float milliseconds = -1;
    cuEventCreate(&from, 0);
    cuEventCreate(&until, 0);
    said("elapsed", cuEventElapsedTime(&milliseconds, from, until));
    cuEventRecord(from, stream);
    launch("reduce", 1, 64, 256);
    cuEventRecord(until, stream);
    said("elapsed", cuEventElapsedTime(&milliseconds, from, until));
    cuEventSynchronize(until);
    said("elapsed", cuEventElapsedTime(&milliseconds, from, until));
    said("took", milliseconds > 0);
}

static void when_limits(const std::string &) {
    size_t left, all;
    cuMemGetInfo_v2(&left, &all);
    Address at;
    said("alloc", cuMemAlloc_v2(&at, left + 1));
    said("copy", cuMemcpyHtoDAsync_v2(step.logits + 4090, pinned, 16, stream));
    said("read", cuMemcpyDtoHAsync_v2(pinned, reinterpret_cast<Address>(pinned), 16, stream));
    said("shared", launch("reduce", 1, 64, 60000));
    said("threads", launch("reduce", 1, 2048, 0));
    said("blocks", launch("reduce", 0, 64, 0));
    said("name", launch("no_such_kernel", 1, 64, 0));
    void *function, *parameters[] = {&step};
    cuModuleGetFunction(&function, module_, "reduce");
    said("attribute", cuFuncSetAttribute(function, 8, 300000));
    said("attribute", cuFuncSetAttribute(function, 8, 60000));
    said("shared", launch("reduce", 1, 64, 60000));
    said("together", cuLaunchCooperativeKernel(function, 1000, 1, 1, 64, 1, 1, 256, stream, parameters));
    said("free", cuMemFree_v2(step.logits + 16));
    said("end", cuStreamSynchronize(stream));
}

static void when_images(const std::string &) {
    char cubin[64] = "\x7f" "ELF\2\1\1\x41\10";
    cubin[18] = char(190);
    auto load = [&](int sm) {
        unsigned flags = unsigned(sm) << 8;
        std::memcpy(cubin + 48, &flags, 4);
        said("cubin", cuModuleLoadData(&module_, cubin));
    };
    load(80), load(86), load(89), load(90);
    auto ptx = [&](const std::string &text) { said("ptx", cuModuleLoadData(&module_, text.c_str())); };
    ptx(".version 8.0\n.target sm_80\n"), ptx(".version 8.0\n.target sm_90\n"), ptx(".version 9.1\n.target sm_80\n");
    ptx(".version 8.0\n.target sm_80\n\x7f" "ELF"), ptx(""), ptx("no text for a GPU");
}

static void when_freed(const std::string &) {
    step.logits = allocate(1024);
    cuMemFree_v2(step.logits);
    launch("reduce", 1, 64, 256);
    cuCtxSynchronize();
}

static void when_beside(const std::string &scenario) {
    step.logits = allocate(200);
    launch("reduce", 1, 64, 256);
    scenario == "beside" ? cuCtxSynchronize() : cuStreamSynchronize(stream);
    said("went on", 0);
}

static void when_host_memory(const std::string &) {
    static unsigned words[64];
    step.weights = reinterpret_cast<Address>(words);
    launch("reduce", 1, 64, 256);
    cuCtxSynchronize();
}

static void when_far(const std::string &) {
    launch("reads_behind", 1, 256, 0);
    cuCtxSynchronize();
}

static const std::map<std::string, void (*)(const std::string &)> scenarios = {
    {"launch", when_launch},
    {"late", when_late},
    {"graph", when_graph},
    {"events", when_events},
    {"limits", when_limits},
    {"images", when_images},
    {"freed", when_freed},
    {"beside", when_beside},
    {"beside, at the end", when_beside},
    {"host memory", when_host_memory},
    {"far", when_far},
    {"no more", [](const std::string &) {}},
};

int main(int, char **arguments) {
    void *context;
    int device, count = -1;
    said("count", cuDeviceGetCount(&count));
    if (int code = cuInit(0)) return said("init", code), 0;
    Address at;
    said("alloc", cuMemAlloc_v2(&at, 16));
    said("device", cuDeviceGet(&device, 1));
    cuDevicePrimaryCtxRetain(&context, 0);
    cuCtxSetCurrent(context);
    prepare();
    scenarios.at(arguments[1])(arguments[1]);
    return 0;
}
