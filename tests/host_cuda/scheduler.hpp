// Fibers, and who of them runs next: what the parts of the scheduler know of each other.
//
// In: a kernel and its grid. Out: every lane run to its end, or the error that stopped them.
// Invariant: one launch at a time in a library; it runs on one thread, so nothing here is locked or atomic.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cuda_on_host.hpp"

#ifndef QWENC_STEP_BYTES
#error "define QWENC_STEP_BYTES: the size of a kernel's argument"
#endif

namespace qwenc_host {

// Larger than 16 bytes, so that it is passed in memory as any struct of this size is.
struct alignas(8) Blob {
    unsigned char bytes[QWENC_STEP_BYTES];
};
static_assert(sizeof(Blob) == QWENC_STEP_BYTES && sizeof(Blob) > 16, "passed in memory");
using Kernel = void (*)(Blob);

struct Copy {
    unsigned char *to;
    const unsigned char *from;
    unsigned group;
    bool valid;
};

struct Warp;

struct Fiber : Lane {
    void *stack_pointer;
    Warp *warp;
    unsigned index;          // Within the warp.
    const char *call;        // What it waits in, if it waits.
    unsigned mask;           // Whom it waits for there.
    Combine combine;
    unsigned groups;         // Of copies, committed so far.
    std::vector<Copy> copies;
};

struct Block;

struct Warp {
    Block *block;
    unsigned index;
    unsigned ready = 0, waiting = 0, at_barrier = 0, live = 0;
    void *operands[32];
    Fiber *fibers;
};

using Bytes = std::vector<unsigned char>;

struct Block {
    uint3 index;
    unsigned ready_warps = 0, live = 0, arrived = 0;
    std::vector<Warp> warps;
    std::vector<Fiber> fibers;
    unsigned char *stacks = nullptr;
    Bytes memory;
    // Of weakly ordered memory (views.cpp): its view, the view at its last fence, and whether a fence is still to take effect
    // or an atomic operation came after the last acquire.
    Bytes sees, looked;
    bool has_fenced = false, has_met = false;
    // Whether the block is of a dependent launch and has not waited yet: it sees memory as it was before the launch before.
    bool is_early = false;
};

// Whom to pick, as the seed decides: anyone, always the first or last, anyone but a victim.
enum class Among { chance, first, last, others };

struct Launch {
    Kernel kernel;
    Blob step;
    unsigned shared_bytes, warps;
    std::vector<unsigned> order;     // Of blocks, by their number.
    size_t started;
    std::vector<Block *> running;
    Warp *stopped;                   // Of the fiber that ended last.
    Among blocks, warps_of_block, lanes;
    unsigned victim;                 // The warp that `others` lets wait.
    unsigned change;                 // Of 256 yields of a warp that could go on, those that it does not.
    unsigned garbage;                // The byte that fills shared memory.
    uint64_t random;
    uint64_t spins;                  // Since memory changed last.
    bool is_early;                   // Whether it is a programmatic dependent launch.
    std::string error;
};
extern Launch launch;

inline uint64_t chance() {
    uint64_t x = launch.random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return launch.random = x;
}

inline Fiber *running_fiber() { return static_cast<Fiber *>(current); }
// Another fiber, or the launching stack if none can run.
void yield(bool anyone);
// Back to the launching stack, for good.
[[noreturn]] void stop();
void finish_copies(Fiber &fiber);
std::string where(const Fiber &fiber);
// Weakly ordered memory (views.cpp): called at the start and end of a launch and of a block and before a block runs; `look`
// applies a block's pending fence.
void open_views();
void close_views();
void begin_view(Block &block);
void end_view(Block &block);
void enter_view(Block &block);
void look(Block &block);
bool has_views();
// Faults of this library's kernels become errors of the launch.
void catch_faults();
bool is_running();
unsigned char *map_stacks(unsigned count);
// Nine lines off a power of two: the ends of stacks, which are what is used of them, must not share a cache's set.
constexpr unsigned stack_bytes = 64 * 1024 + 9 * 64, canary_bytes = 32, guard_bytes = 4096;

}  // namespace qwenc_host
