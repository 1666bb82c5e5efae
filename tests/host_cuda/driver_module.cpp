// Modules, functions and launches of the stand-in driver.
//
// In: machine code, which is looked at and not run, and QWENC_HOST_KERNELS, the library in whose place it runs;
// QWENC_HOST_SEED (1). Out: launches, queued on their stream.
// Invariant: what a device of this architecture would not load or launch, this does not either.

#include "driver.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <dlfcn.h>

using namespace host_driver;

namespace host_driver {

extern void (*explain_address)(const void *, char *, size_t);

struct Function {
    std::string name;
    void (*kernel)();
    unsigned dynamic_shared_limit = 48 * 1024;
};

}  // namespace host_driver

namespace {

using TryLaunch = const char *(*)(void (*)(), const void *, const unsigned *, unsigned, unsigned, unsigned long long,
                                  int, int);

struct Module {
    std::map<std::string, Function> functions;
};

struct Kernels {
    void *handle;
    TryLaunch launch;
};

const Kernels &kernels() {
    static Kernels kernels = [] {
        const char *path = std::getenv("QWENC_HOST_KERNELS");
        if (!path) die("QWENC_HOST_KERNELS names no library of kernels");
        void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (!library) die(std::string("QWENC_HOST_KERNELS: ") + dlerror());
        auto launch = reinterpret_cast<TryLaunch>(dlsym(library, "qwenc_host_try_launch"));
        auto explain_with = reinterpret_cast<void (*)(void (*)(const void *, char *, size_t))>(
            dlsym(library, "qwenc_host_explain_with"));
        if (!launch || !explain_with) die(std::string(path) + " is no library of kernels for the host");
        explain_with(explain_address);
        return Kernels{library, launch};
    }();
    return kernels;
}

// Code for sm runs on devices of the same major version that are not older.
Result check_cubin(const unsigned char *image) {
    unsigned machine = image[18] | unsigned(image[19]) << 8;
    if (machine != 190) return invalid_image;
    uint32_t flags;
    std::memcpy(&flags, image + 48, 4);
    int sm = int(image[8] >= 8 ? flags >> 8 & 0xFF : flags & 0xFF);
    return sm / 10 == architecture() / 10 && sm <= architecture() ? success : no_binary_for_gpu;
}

Result check_ptx(const char *text) {
    const size_t most = size_t(1) << 28;
    size_t length = 0;
    // A text that runs into other bytes is one that has no NUL at its end.
    while (text[length]) {
        auto byte = static_cast<unsigned char>(text[length]);
        if ((byte < 32 && !std::strchr("\t\n\r\f", byte)) || byte > 126 || ++length > most) return invalid_image;
    }
    const char *version = std::strstr(text, ".version "), *target = std::strstr(text, ".target sm_");
    if (!version || !target) return length ? invalid_ptx : invalid_image;
    int major = std::atoi(version + 9), minor = std::atoi(std::strchr(version + 9, '.') + 1);
    int driver = int(environment("QWENC_HOST_DRIVER", 13000));
    // CUDA 12.0 to 12.8 brought PTX 8.0 to 8.7 (12.6 none), 12.9 brought 8.8, and 13.n brought 9.n.
    int cuda_minor = driver % 1000 / 10;
    int newest = (driver / 1000 - 4) * 10 + (driver < 13000 && cuda_minor > 5 ? cuda_minor - 1 : cuda_minor);
    if (major * 10 + minor > newest) return unsupported_ptx_version;
    return std::atoi(target + 11) <= architecture() ? success : invalid_ptx;
}

Result check_launch(const Function *function, const unsigned (&grid)[3], const unsigned (&block)[3], unsigned shared) {
    if (!function) return invalid_handle;
    for (unsigned size : {grid[0], grid[1], grid[2], block[0]}) {
        if (!size) return invalid_value;
    }
    if (grid[0] > 0x7FFFFFFF || grid[1] > 65535 || grid[2] > 65535 || block[0] > 1024) return invalid_value;
    if (block[1] != 1 || block[2] != 1) die(function->name + ": the host runs blocks of one dimension only");
    return shared > function->dynamic_shared_limit ? invalid_value : success;
}

int blocks_per_multiprocessor(unsigned threads, unsigned shared) {
    unsigned most_threads = optin_shared_bytes() == 99 * 1024 ? 1536 : 2048;
    unsigned by_threads = most_threads / threads, by_memory = (optin_shared_bytes() + 1024) / (shared + 1024);
    unsigned least = by_threads < by_memory ? by_threads : by_memory;
    return int(least < 16 ? least : 16);
}

// Kind of launch: of cuLaunchKernel, cooperative, or programmatic dependent.
enum class How { alone, cooperative, programmatic };

Result launch(Function *function, const unsigned (&grid)[3], const unsigned (&block)[3], unsigned shared,
              Stream *stream, void **parameters, void **extra, How how) {
    if (auto refused = check_launch(function, grid, block, shared)) return refused;
    if (extra || !parameters || !parameters[0]) return invalid_value;
    if (how == How::programmatic && architecture() < 90) return not_supported;
    const char *names[] = {"launch ", "launch cooperative ", "launch dependent "};
    note(names[int(how)] + function->name + " of " + std::to_string(grid[0] * grid[1] * grid[2]));
    std::vector<unsigned char> step(static_cast<unsigned char *>(parameters[0]),
                                    static_cast<unsigned char *>(parameters[0]) + QWENC_STEP_BYTES);
    std::vector<unsigned> blocks(grid, grid + 3);
    unsigned threads = block[0];
    if (how == How::cooperative) {
        uint64_t most = uint64_t(blocks_per_multiprocessor(threads, shared)) * multiprocessors();
        if (uint64_t(grid[0]) * grid[1] * grid[2] > most) return cooperative_launch_too_large;
    }
    return enqueue(stream, [=] {
        static uint64_t launches = 0;
        check_step(function->name, step.data());
        uint64_t seed = environment("QWENC_HOST_SEED", 1) * 1000003 + launches++;
        const char *error = kernels().launch(function->kernel, step.data(), blocks.data(), threads, shared, seed,
                                             how == How::cooperative, false);
        if (error) die(error);
    });
}

}  // namespace

CUDA_CALL(cuModuleLoadData)(Module **to, const void *image) {
    ENTER;
    if (auto refused = check_no_capture()) return refused;
    if (!to || !image) return invalid_value;
    bool is_elf = !std::memcmp(image, "\x7f" "ELF", 4);
    auto *bytes = static_cast<const unsigned char *>(image);
    if (auto refused = is_elf ? check_cubin(bytes) : check_ptx(static_cast<const char *>(image))) return refused;
    kernels();
    *to = new Module();
    return success;
}

CUDA_CALL(cuModuleLoadDataEx)(Module **to, const void *image, unsigned count, int *options, void **values) {
    int result = cuModuleLoadData(to, image);
    char *log = nullptr;
    size_t bytes = 0;
    for (unsigned i = 0; i < count; i++) {
        if (options[i] == 5) log = static_cast<char *>(values[i]);               // Where errors are written.
        if (options[i] == 6) bytes = reinterpret_cast<uintptr_t>(values[i]);     // How many bytes of them.
    }
    const char *text = result == invalid_ptx ? "host CUDA: PTX that names no version and target this device has" : "";
    if (log && bytes) std::snprintf(log, bytes, "%s", text);
    return result;
}

CUDA_CALL(cuModuleUnload)(Module *module) {
    ENTER;
    if (!module) return invalid_handle;
    finish_all();
    delete module;
    return success;
}

CUDA_CALL(cuModuleGetFunction)(Function **to, Module *module, const char *name) {
    ENTER;
    if (!to || !name) return invalid_value;
    if (!module) return invalid_handle;
    auto kernel = reinterpret_cast<void (*)()>(dlsym(kernels().handle, name));
    if (!kernel || !std::strncmp(name, "qwenc_host_", 11)) return not_found;
    Function &function = module->functions[name];
    function.name = name;
    function.kernel = kernel;
    *to = &function;
    return success;
}

CUDA_CALL(cuFuncSetAttribute)(Function *function, int which, int value) {
    ENTER;
    if (!function) return invalid_handle;
    if (which == 9) return value >= -1 && value <= 100 ? success : invalid_value;
    if (which != 8 || value < 0 || unsigned(value) > optin_shared_bytes()) return invalid_value;
    function->dynamic_shared_limit = unsigned(value);
    return success;
}

CUDA_CALL(cuFuncGetAttribute)(int *to, int which, Function *function) {
    ENTER;
    if (!to) return invalid_value;
    if (!function) return invalid_handle;
    switch (which) {
        case 0: *to = 1024; break;                                    // Threads of a block.
        case 4: *to = 64; break;                                      // Registers.
        case 5: case 6: *to = architecture(); break;                  // Versions of PTX and machine code.
        case 8: *to = int(function->dynamic_shared_limit); break;
        default: *to = 0;
    }
    return success;
}

CUDA_CALL(cuOccupancyMaxActiveBlocksPerMultiprocessor)(int *to, Function *function, int threads, size_t shared) {
    ENTER;
    if (!to || threads < 1 || threads > 1024) return invalid_value;
    if (!function) return invalid_handle;
    bool fits = shared <= function->dynamic_shared_limit;
    *to = fits ? blocks_per_multiprocessor(unsigned(threads), unsigned(shared)) : 0;
    return success;
}

CUDA_CALL(cuLaunchKernel)(Function *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                          unsigned block_y, unsigned block_z, unsigned shared, Stream *stream, void **parameters,
                          void **extra) {
    ENTER;
    return launch(function, {grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared, stream, parameters, extra,
                  How::alone);
}

CUDA_CALL(cuLaunchCooperativeKernel)(Function *function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                                     unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared,
                                     Stream *stream, void **parameters) {
    ENTER;
    return launch(function, {grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared, stream, parameters, nullptr,
                  How::cooperative);
}

namespace {

// CUlaunchAttribute and CUlaunchConfig.
struct Attribute {
    int what;
    alignas(8) int value[16];
};
struct Config {
    unsigned grid[3], block[3], shared;
    Stream *stream;
    Attribute *attributes;
    unsigned count;
};
static_assert(sizeof(Attribute) == 72 && sizeof(Config) == 56, "as the driver has them");

}  // namespace

CUDA_CALL(cuLaunchKernelEx)(const Config *config, Function *function, void **parameters, void **extra) {
    ENTER;
    if (!config || config->count > 1 || (config->count && !config->attributes)) return invalid_value;
    How how = How::alone;
    if (config->count) {
        // Programmatic stream serialization, the only attribute supported here.
        if (config->attributes[0].what != 6) return invalid_value;
        if (config->attributes[0].value[0]) how = How::programmatic;
    }
    const unsigned *g = config->grid, *b = config->block;
    return launch(function, {g[0], g[1], g[2]}, {b[0], b[1], b[2]}, config->shared, config->stream, parameters, extra, how);
}
