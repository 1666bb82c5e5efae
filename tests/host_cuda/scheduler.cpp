// Which fiber runs next, and a launch from its first block to its last.
//
// In: a kernel, its argument, its grid and a seed. Out: null, or what went wrong and where.
// Invariant: the same seed takes the same course. A fiber leaves the processor only in `yield`; a warp's `ready`,
// `waiting` and `at_barrier` never share a lane, and a block's `ready_warps` are those with any lane ready.

#include "scheduler.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <mutex>

asm(R"(
.text
.local qwenc_host_switch
.type qwenc_host_switch, @function
qwenc_host_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size qwenc_host_switch, .-qwenc_host_switch
)");
extern "C" __attribute__((visibility("hidden"))) void qwenc_host_switch(void **save, void *next);

namespace qwenc_host {

Lane *current;
uint3 block_dim, grid_dim;
int left_out = -1;
Launch launch;
static void *launching_stack;

static unsigned pick_bit(unsigned set, Among how) {
    if (how == Among::first) return unsigned(__builtin_ctz(set));
    if (how == Among::last) return 31u - unsigned(__builtin_clz(set));
    if (how == Among::others && (set & ~(1u << launch.victim))) set &= ~(1u << launch.victim);
    unsigned by = unsigned(chance() >> 20) & 31;
    unsigned turned = (set >> by) | (set << ((32 - by) & 31));
    return (unsigned(__builtin_ctz(turned)) + by) & 31;
}

// A block with a fiber that can run, or null.
static Block *pick_block(Among how) {
    size_t count = launch.running.size();
    size_t from = how == Among::chance || how == Among::others ? size_t(chance() >> 16) % (count + !count) : 0;
    for (size_t i = 0; i < count; i++) {
        size_t at = from + i < count ? from + i : from + i - count;
        Block *block = launch.running[how == Among::last ? count - 1 - at : at];
        if (block->ready_warps) return block;
    }
    return nullptr;
}

static Fiber *pick(Warp *stay, bool anyone) {
    Among lanes = anyone ? Among::chance : launch.lanes;
    if (!stay || !stay->ready || anyone || (chance() >> 24) % 256 < launch.change) {
        // To change views takes long: a block goes on while it can.
        bool goes_on = has_views() && !anyone && stay && stay->block->ready_warps;
        Block *block = goes_on ? stay->block : pick_block(anyone ? Among::chance : launch.blocks);
        if (!block) return nullptr;
        Among warps = anyone ? Among::chance : launch.warps_of_block;
        stay = &block->warps[pick_bit(block->ready_warps, warps)];
    }
    return &stay->fibers[pick_bit(stay->ready, lanes)];
}

void yield(bool anyone) {
    Fiber *from = running_fiber();
    Fiber *to = pick(from->warp, anyone);
    if (to == from) return;
    current = to;
    if (to) enter_view(*to->warp->block);
    qwenc_host_switch(&from->stack_pointer, to ? to->stack_pointer : launching_stack);
}

void stop() {
    void *dropped;
    launch.stopped = running_fiber()->warp;
    current = nullptr;
    qwenc_host_switch(&dropped, launching_stack);
    __builtin_unreachable();
}

bool is_running() { return current != nullptr; }

std::string where(const Fiber &fiber) {
    Dl_info info = {};
    bool named = dladdr(reinterpret_cast<void *>(launch.kernel), &info) && info.dli_sname;
    auto triple = [](uint3 at) {
        return "(" + std::to_string(at.x) + ", " + std::to_string(at.y) + ", " + std::to_string(at.z) + ")";
    };
    return std::string("kernel ") + (named ? info.dli_sname : "?") + ", block " + triple(fiber.block) +
           ", thread " + std::to_string(fiber.thread.x);
}

void fail(const char *what) {
    launch.error = where(*running_fiber()) + ": " + what;
    stop();
}

void preempt() {
    look(*running_fiber()->warp->block);
    // A change of views copies the shared regions.
    unsigned others = has_views() ? 1023 : 7;
    if (((chance() >> 30) & 7) == 0) yield(((chance() >> 30) & others) == 0);
}

void let_others_run() {
    if (((chance() >> 30) & 1) == 0) yield(true);
}

void progressed() { launch.spins = 0; }

void pause_spinning() {
    if (++launch.spins > (1u << 23)) {
        bool more = launch.started < launch.order.size();
        fail(more ? "waits for memory that nobody changes; blocks have not started that may have to: is this a "
                    "launch whose blocks must all run at once?"
                  : "waits for memory that nobody changes");
    }
    yield(true);
}

static void wake(Warp &warp, unsigned lanes) {
    warp.ready |= lanes;
    warp.block->ready_warps |= 1u << warp.index;
}

static void sleep(Warp &warp, unsigned lane) {
    warp.ready &= ~(1u << lane);
    if (!warp.ready) warp.block->ready_warps &= ~(1u << warp.index);
}

static void release_barrier(Block &block) {
    if (!block.live || block.arrived < block.live) return;
    block.arrived = 0;
    look(block);
    for (Warp &warp : block.warps) {
        if (warp.at_barrier) wake(warp, warp.at_barrier);
        warp.at_barrier = 0;
    }
}

// That a lane is here means that it is not where these lanes wait for it.
static void check_not_awaited(Fiber &fiber, const char *call, Combine combine, unsigned mask) {
    Warp &warp = *fiber.warp;
    unsigned bit = 1u << fiber.index;
    for (unsigned left = warp.waiting; left; left &= left - 1) {
        Fiber &other = warp.fibers[__builtin_ctz(left)];
        if (!(other.mask & bit)) continue;
        if (other.call == call && other.combine == combine && other.mask == mask) continue;
        fail((std::string("is in ") + call + " while thread " + std::to_string(other.thread.x) +
              " of its warp waits for it in " + other.call).c_str());
    }
}

void barrier() {
    Fiber &fiber = *running_fiber();
    Warp &warp = *fiber.warp;
    check_not_awaited(fiber, "__syncthreads", nullptr, 0);
    fiber.call = "__syncthreads";
    sleep(warp, fiber.index);
    warp.at_barrier |= 1u << fiber.index;
    warp.block->arrived++;
    release_barrier(*warp.block);
    yield(false);
}

void collective(const char *call, Combine combine, unsigned mask, void *operand) {
    Fiber &fiber = *running_fiber();
    Warp &warp = *fiber.warp;
    unsigned bit = 1u << fiber.index;
    if (!(mask & bit)) fail((std::string(call) + " with a mask that lacks the thread itself").c_str());
    if (warp.waiting) check_not_awaited(fiber, call, combine, mask);
    if (unsigned away = mask & (~warp.live | warp.at_barrier)) {
        unsigned lane = unsigned(__builtin_ctz(away));
        fail((std::string("is in ") + call + " with lane " + std::to_string(lane) +
              (warp.live >> lane & 1 ? ", which waits in __syncthreads" : ", which has returned")).c_str());
    }
    fiber.call = call;
    fiber.combine = combine;
    fiber.mask = mask;
    warp.operands[fiber.index] = operand;
    sleep(warp, fiber.index);
    warp.waiting |= bit;
    if ((warp.waiting & mask) == mask) {
        combine(warp.operands, mask);
        warp.waiting &= ~mask;
        wake(warp, mask);
    }
    yield(false);
}

[[noreturn]] static void fiber_main() {
    launch.kernel(launch.step);
    Fiber &fiber = *running_fiber();
    Warp &warp = *fiber.warp;
    finish_copies(fiber);
    const unsigned char *bottom = warp.block->stacks + size_t(fiber.thread.x) * stack_bytes;
    for (unsigned i = 0; i < canary_bytes; i++) {
        if (bottom[i] != 0xA5) fail("needs more than the host's 64 KiB of stack");
    }
    check_not_awaited(fiber, "no call: it has returned", nullptr, 0);
    sleep(warp, fiber.index);
    warp.live &= ~(1u << fiber.index);
    warp.block->live--;
    release_barrier(*warp.block);
    stop();
}

static void start(Block &block, unsigned number) {
    begin_view(block);
    unsigned threads = block_dim.x;
    block.index = {number % grid_dim.x, number / grid_dim.x % grid_dim.y, number / grid_dim.x / grid_dim.y};
    block.live = threads;
    block.arrived = 0;
    block.ready_warps = launch.warps == 32 ? ~0u : (1u << launch.warps) - 1;
    unsigned char *shared = block.memory.data() + guard_bytes;
    shared += -reinterpret_cast<uintptr_t>(shared) & 127;
    std::memset(shared - guard_bytes / 2, 0xFF, guard_bytes / 2);
    std::memset(shared, int(launch.garbage), launch.shared_bytes);
    std::memset(shared + launch.shared_bytes, 0xFF, guard_bytes);
    for (unsigned i = 0; i < launch.warps; i++) {
        Warp &warp = block.warps[i];
        warp.block = &block;
        warp.index = i;
        warp.live = warp.ready = ~0u;
        warp.waiting = warp.at_barrier = 0;
        warp.fibers = &block.fibers[i * 32];
    }
    for (unsigned i = 0; i < threads; i++) {
        Fiber &fiber = block.fibers[i];
        fiber.thread = {i, 0, 0};
        fiber.block = block.index;
        fiber.shared = shared;
        fiber.warp = &block.warps[i / 32];
        fiber.index = i % 32;
        fiber.groups = 0;
        fiber.copies.clear();
        unsigned char *end = block.stacks + size_t(i + 1) * stack_bytes;
        std::memset(end - stack_bytes, 0xA5, canary_bytes);
        // Six registers, where to go, and what makes the stack as a call would leave it.
        void **top = reinterpret_cast<void **>(end) - 8;
        top[6] = reinterpret_cast<void *>(fiber_main);
        fiber.stack_pointer = top;
    }
}

static void check_guards(Block &block) {
    const unsigned char *shared = block.fibers[0].shared;
    auto whole = [](const unsigned char *from, size_t bytes) {
        return std::all_of(from, from + bytes, [](unsigned char byte) { return byte == 0xFF; });
    };
    const unsigned char *end = shared + launch.shared_bytes;
    if (whole(shared - guard_bytes / 2, guard_bytes / 2) && whole(end, guard_bytes)) return;
    size_t at = 0;
    while (at < guard_bytes && end[at] == 0xFF) at++;
    std::string which = at < guard_bytes ? std::to_string(at) + " bytes behind" : "before the start of";
    launch.error = where(block.fibers[0]) + " (or another of its block): wrote " + which + " its " +
                   std::to_string(launch.shared_bytes) + " bytes of shared memory";
}

// Blocks that have ended make room for others. False: nothing is left to run.
static bool refill(std::vector<Block *> &idle) {
    for (size_t i = launch.running.size(); i-- > 0;) {
        if (launch.running[i]->live) continue;
        check_guards(*launch.running[i]);
        end_view(*launch.running[i]);
        idle.push_back(launch.running[i]);
        launch.running.erase(launch.running.begin() + long(i));
    }
    while (!idle.empty() && launch.started < launch.order.size()) {
        start(*idle.back(), launch.order[launch.started++]);
        launch.running.push_back(idle.back());
        idle.pop_back();
    }
    return !launch.running.empty();
}

static void report_deadlock() {
    for (Block *block : launch.running) {
        for (Fiber &fiber : block->fibers) {
            Warp &warp = *fiber.warp;
            if (!((warp.waiting | warp.at_barrier) >> fiber.index & 1)) continue;
            launch.error = where(fiber) + ": waits for ever in " + fiber.call + "; no thread can run";
            return;
        }
    }
}

static void run(std::vector<Block *> idle) {
    while (launch.error.empty() && refill(idle)) {
        bool ended = false;
        while (!ended && launch.error.empty()) {
            Fiber *fiber = pick(has_views() ? launch.stopped : nullptr, false);
            if (!fiber) return report_deadlock();
            current = fiber;
            enter_view(*fiber->warp->block);
            qwenc_host_switch(&launching_stack, fiber->stack_pointer);
            current = nullptr;
            ended = std::any_of(launch.running.begin(), launch.running.end(), [](Block *b) { return !b->live; });
        }
    }
}

static void decide(uint64_t seed, unsigned blocks) {
    launch.random = (seed + 1) * 0x9E3779B97F4A7C15u;
    for (int i = 0; i < 8; i++) chance();
    const Among ways[] = {Among::chance, Among::first, Among::last, Among::others};
    auto way = [&](unsigned of) { return ways[(chance() >> 32) % of]; };
    launch.blocks = way(3);
    launch.warps_of_block = way(4);
    launch.lanes = way(3);
    launch.victim = unsigned(chance() >> 32) % launch.warps;
    const unsigned changes[] = {0, 2, 40, 200};
    launch.change = changes[(chance() >> 32) % 4];
    launch.garbage = (chance() >> 32) % 2 ? 0xFF : unsigned(chance() >> 32) & 0xFF;
    launch.order.resize(blocks);
    for (unsigned i = 0; i < blocks; i++) launch.order[i] = i;
    if ((chance() >> 32) % 4 == 0) return std::reverse(launch.order.begin(), launch.order.end());
    for (unsigned i = blocks; i > 1; i--) std::swap(launch.order[i - 1], launch.order[(chance() >> 24) % i]);
}

// Blocks are kept from launch to launch: their stacks are what costs.
static std::vector<Block *> blocks_at_once(unsigned count) {
    static std::vector<Block *> kept;
    while (kept.size() < count) {
        kept.push_back(new Block());
        kept.back()->stacks = map_stacks(1024);
    }
    std::vector<Block *> blocks(kept.begin(), kept.begin() + count);
    for (Block *block : blocks) {
        block->warps.resize(launch.warps);
        block->fibers.resize(block_dim.x);
        size_t bytes = launch.shared_bytes + 2 * guard_bytes + 256;
        if (block->memory.size() < bytes) block->memory.resize(bytes);
    }
    return blocks;
}

}  // namespace qwenc_host

using namespace qwenc_host;

extern "C" __attribute__((visibility("default"))) void qwenc_host_leave_out(int number) { left_out = number; }

// Null, or an error that stays readable until the next launch.
extern "C" __attribute__((visibility("default"))) const char *qwenc_host_try_launch(
    Kernel kernel, const void *step, const unsigned grid[3], unsigned threads, unsigned shared_bytes,
    unsigned long long seed, int all_blocks, int is_early) {
    static std::mutex one_at_a_time;
    static thread_local std::string said;
    std::lock_guard<std::mutex> lock(one_at_a_time);
    if (!threads || threads % 32 || threads > 1024) {
        said = "a block of " + std::to_string(threads) + " threads; there are 32 to 1024, in whole warps";
        return said.c_str();
    }
    uint64_t blocks = uint64_t(grid[0]) * grid[1] * grid[2];
    if (!blocks || blocks > 1u << 24) {
        said = "a grid of " + std::to_string(blocks) + " blocks; the host runs 1 to 2^24";
        return said.c_str();
    }
    catch_faults();
    launch.kernel = kernel;
    std::memcpy(&launch.step, step, sizeof launch.step);
    launch.shared_bytes = shared_bytes;
    launch.warps = threads / 32;
    launch.started = 0;
    launch.running.clear();
    launch.stopped = nullptr;
    launch.spins = 0;
    launch.is_early = is_early;
    launch.error.clear();
    block_dim = {threads, 1, 1};
    grid_dim = {grid[0], grid[1], grid[2]};
    decide(seed, unsigned(blocks));
    unsigned at_once = all_blocks ? unsigned(blocks) : 1 + unsigned(chance() >> 32) % 5;
    open_views();
    run(blocks_at_once(std::min(at_once, unsigned(blocks))));
    close_views();
    said = launch.error;
    return said.empty() ? nullptr : said.c_str();
}
