// Devices, contexts and errors of the stand-in driver.
//
// In: QWENC_HOST_DEVICES (1), QWENC_HOST_SM (90), QWENC_HOST_SMS (4 multiprocessors), QWENC_HOST_MEMORY (2 GiB),
// QWENC_HOST_DRIVER (13000) and QWENC_HOST_INIT (0: what cuInit answers), QWENC_HOST_LOG (log file: a line for
// each launch, event and wait). Out: devices as those say.
// Invariant: a call without cuInit or without a context is refused, as a driver refuses it.

#include "driver.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>

using namespace host_driver;

namespace host_driver {

std::recursive_mutex lock;
bool is_initialized;
thread_local int device_of_context = -1;

uint64_t environment(const char *name, uint64_t otherwise) {
    const char *text = std::getenv(name);
    if (!text || !*text) return otherwise;
    char *end;
    uint64_t value = std::strtoull(text, &end, 10);
    if (*end) die(std::string(name) + "=" + text + " is no number");
    return value;
}

void die(const std::string &what) {
    std::fflush(nullptr);
    std::fprintf(stderr, "host CUDA: %s\n", what.c_str());
    std::abort();
}

void note(const std::string &line) {
    const char *path = std::getenv("QWENC_HOST_LOG");
    if (!path) return;
    std::FILE *file = std::fopen(path, "a");
    if (!file) die(std::string("QWENC_HOST_LOG=") + path + " cannot be written");
    std::fprintf(file, "%s\n", line.c_str());
    std::fclose(file);
}

Result check_context() {
    if (!is_initialized) return not_initialized;
    return device_of_context < 0 ? invalid_context : success;
}

int architecture() { return int(environment("QWENC_HOST_SM", 90)); }
unsigned multiprocessors() { return unsigned(environment("QWENC_HOST_SMS", 4)); }

unsigned optin_shared_bytes() {
    switch (architecture()) {
        case 80: case 87: return 163 * 1024;
        case 86: case 89: case 120: case 121: return 99 * 1024;
        case 75: return 64 * 1024;
        default: return 227 * 1024;
    }
}

}  // namespace host_driver

namespace {

int device_count() { return int(environment("QWENC_HOST_DEVICES", 1)); }

bool is_a_device(int device) { return device >= 0 && device < device_count(); }

// Any address will do; the context of device n.
char contexts[64];

int attribute(int which) {
    bool is_small = optin_shared_bytes() == 99 * 1024;
    switch (which) {
        case 1: case 2: case 3: return 1024;                   // Threads of a block, in x, in y.
        case 4: return 64;                                     // In z.
        case 5: return 2147483647;                             // Blocks in x.
        case 6: case 7: return 65535;                          // In y and z.
        case 8: return 48 * 1024;                              // Shared memory of a block.
        case 9: return 64 * 1024;                              // Constant memory.
        case 10: return 32;                                    // Threads of a warp.
        case 12: case 82: return 65536;                        // Registers of a block, of a multiprocessor.
        case 13: return 1500000;                               // kHz.
        case 16: return int(multiprocessors());
        case 19: case 31: case 41: case 95: return 1;          // Mapped memory, one address space, cooperation.
        case 36: return 2600000;                               // kHz of the memory.
        case 37: return 5120;                                  // Bits of its bus.
        case 38: return 50 << 20;                              // Bytes of L2.
        case 39: return is_small ? 1536 : 2048;                // Threads of a multiprocessor.
        case 40: return 2;                                     // Copy engines.
        case 75: return architecture() / 10;
        case 76: return architecture() % 10;
        case 81: return int(optin_shared_bytes() + 1024);
        case 97: return int(optin_shared_bytes());
        case 111: return 1024;                                 // Shared memory of a block that the driver keeps.
        default: return 0;
    }
}

struct Name {
    int code;
    const char *name, *text;
};
const Name names[] = {
    {success, "CUDA_SUCCESS", "no error"},
    {invalid_value, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {out_of_memory, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {not_initialized, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {no_device, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {invalid_device, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {invalid_image, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {invalid_context, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {no_binary_for_gpu, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"},
    {invalid_ptx, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
    {unsupported_ptx_version, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
     "the provided PTX was compiled with an unsupported toolchain."},
    {invalid_handle, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {not_found, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {not_ready, "CUDA_ERROR_NOT_READY", "device not ready"},
    {cooperative_launch_too_large, "CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE", "too many blocks in cooperative launch"},
    {not_supported, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {stream_capture_unsupported, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
     "operation not permitted when stream is capturing"},
    {stream_capture_unmatched, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED",
     "capture was not initiated in this stream"},
};

Result name_of(int code, const char **to, const char *Name::*part) {
    if (!to) return invalid_value;
    for (const Name &name : names) {
        if (name.code == code) return *to = name.*part, success;
    }
    *to = code == 999 ? "CUDA_ERROR_UNKNOWN" : nullptr;
    return *to ? success : invalid_value;
}

// What was done to memory after the last wait shows at the end.
struct AtTheEnd {
    ~AtTheEnd() { check_guards(); }
};

}  // namespace

#define ENTER_WITHOUT_CONTEXT                                          \
    std::lock_guard<std::recursive_mutex> held(host_driver::lock);     \
    if (!host_driver::is_initialized) return host_driver::not_initialized

CUDA_CALL(cuInit)(unsigned flags) {
    std::lock_guard<std::recursive_mutex> held(host_driver::lock);
    if (flags) return invalid_value;
    if (int code = int(environment("QWENC_HOST_INIT", 0))) return code;
    if (!device_count()) return no_device;
    is_initialized = true;
    static AtTheEnd at_the_end;
    return success;
}

CUDA_CALL(cuDriverGetVersion)(int *to) {
    if (!to) return invalid_value;
    *to = int(environment("QWENC_HOST_DRIVER", 13000));
    return success;
}

CUDA_CALL(cuDeviceGetCount)(int *to) {
    ENTER_WITHOUT_CONTEXT;
    if (!to) return invalid_value;
    *to = device_count();
    return success;
}

CUDA_CALL(cuDeviceGet)(int *to, int ordinal) {
    ENTER_WITHOUT_CONTEXT;
    if (!to) return invalid_value;
    if (!is_a_device(ordinal)) return invalid_device;
    *to = ordinal;
    return success;
}

CUDA_CALL(cuDeviceGetName)(char *to, int bytes, int device) {
    ENTER_WITHOUT_CONTEXT;
    if (!to || bytes < 1) return invalid_value;
    if (!is_a_device(device)) return invalid_device;
    std::snprintf(to, size_t(bytes), "Host stand-in %d", device);
    return success;
}

CUDA_CALL(cuDeviceGetUuid_v2)(unsigned char *to, int device) {
    ENTER_WITHOUT_CONTEXT;
    if (!to || !is_a_device(device)) return invalid_value;
    std::memset(to, device, 16);
    return success;
}

CUDA_CALL(cuDeviceGetAttribute)(int *to, int which, int device) {
    ENTER_WITHOUT_CONTEXT;
    if (!to || which < 1) return invalid_value;
    if (!is_a_device(device)) return invalid_device;
    *to = attribute(which);
    return success;
}

CUDA_CALL(cuDeviceTotalMem_v2)(size_t *to, int device) {
    ENTER_WITHOUT_CONTEXT;
    if (!to) return invalid_value;
    if (!is_a_device(device)) return invalid_device;
    *to = environment("QWENC_HOST_MEMORY", uint64_t(2) << 30);
    return success;
}

CUDA_CALL(cuDevicePrimaryCtxRetain)(char **to, int device) {
    ENTER_WITHOUT_CONTEXT;
    if (!to) return invalid_value;
    if (!is_a_device(device) || device >= int(sizeof contexts)) return invalid_device;
    *to = &contexts[device];
    return success;
}

CUDA_CALL(cuDevicePrimaryCtxRelease_v2)(int device) {
    ENTER_WITHOUT_CONTEXT;
    return is_a_device(device) ? success : invalid_device;
}

CUDA_CALL(cuDevicePrimaryCtxSetFlags_v2)(int device, unsigned) {
    ENTER_WITHOUT_CONTEXT;
    return is_a_device(device) ? success : invalid_device;
}

CUDA_CALL(cuCtxSetFlags)(unsigned) {
    ENTER;
    return success;
}

CUDA_CALL(cuCtxSetCurrent)(char *context) {
    ENTER_WITHOUT_CONTEXT;
    if (context && (context < contexts || context >= contexts + device_count())) return invalid_context;
    device_of_context = context ? int(context - contexts) : -1;
    return success;
}

CUDA_CALL(cuCtxGetCurrent)(char **to) {
    ENTER_WITHOUT_CONTEXT;
    if (!to) return invalid_value;
    *to = device_of_context < 0 ? nullptr : &contexts[device_of_context];
    return success;
}

CUDA_CALL(cuCtxGetDevice)(int *to) {
    ENTER;
    if (!to) return invalid_value;
    *to = device_of_context;
    return success;
}

CUDA_CALL(cuGetErrorName)(int code, const char **to) { return name_of(code, to, &Name::name); }
CUDA_CALL(cuGetErrorString)(int code, const char **to) { return name_of(code, to, &Name::text); }
