// A stand-in for NVIDIA's driver: what its parts know of each other.
//
// In: calls of the driver API. Out: what a driver would answer, kernels run on the host.
// Invariant: work is done as late as a driver may do it, when somebody waits for it, so that a program that does
// not wait sees what was there before. Whatever a driver would not forgive but this machine would, is an error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace host_driver {

// The driver API's numbers.
enum Result : int {
    success = 0,
    invalid_value = 1,
    out_of_memory = 2,
    not_initialized = 3,
    no_device = 100,
    invalid_device = 101,
    invalid_image = 200,
    invalid_context = 201,
    no_binary_for_gpu = 209,
    invalid_ptx = 218,
    unsupported_ptx_version = 222,
    invalid_handle = 400,
    not_found = 500,
    not_ready = 600,
    cooperative_launch_too_large = 720,
    not_supported = 801,
    stream_capture_unsupported = 900,
    stream_capture_unmatched = 903,
};

using Address = uint64_t;
using Work = std::function<void()>;

struct Graph {
    std::vector<Work> work;
};

struct Stream {
    bool is_blocking = true;
    std::deque<Work> queue;
    Graph *capturing = nullptr;
};

struct Event {
    Stream *stream = nullptr;
    uint64_t recorded = 0, completed = 0;
    bool has_time = true;
    unsigned number = 0;
    double milliseconds = 0;
};

extern std::recursive_mutex lock;
extern bool is_initialized;
extern thread_local int device_of_context;  // Or -1.

uint64_t environment(const char *name, uint64_t otherwise);
[[noreturn]] void die(const std::string &what);
// Appends a line to the log of QWENC_HOST_LOG, if that is set.
void note(const std::string &line);
Result check_context();

Result enqueue(Stream *stream, Work work);
// Runs what is queued: on every stream, on those that the null stream waits for, on one.
void finish_all();
void finish_blocking();
void finish(Stream *stream);
// 900 while any stream records: such calls are not for then.
Result check_no_capture();

// Whether all of it lies in one live allocation of device memory.
bool is_device(Address at, uint64_t bytes);
bool is_pinned(const void *at, uint64_t bytes);
// Dies if a kernel or copy wrote beside an allocation.
void check_guards();
// What stands at an address, for messages.
std::string describe(Address at);

struct Function;
int architecture();
unsigned multiprocessors();
unsigned optin_shared_bytes();
// Dies if the argument of a kernel points to what is no device memory.
void check_step(const std::string &kernel, const void *step);

}  // namespace host_driver

#define CUDA_CALL(name) extern "C" __attribute__((visibility("default"))) int name
// Every call but those without a device: one at a time, after cuInit, with a context.
#define ENTER                                                          \
    std::lock_guard<std::recursive_mutex> held(host_driver::lock);     \
    if (auto refused = host_driver::check_context()) return refused
