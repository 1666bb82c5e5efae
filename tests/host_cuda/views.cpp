// Weakly ordered memory: each block has a view of its own, with its stores and, of others', those that were visible at its last
// acquire. A fence releases a block's stores; one after an atomic operation, by which the block may have synchronised with
// another, also acquires. So a store without a release never reaches another block, and a load without an acquire is stale. A
// block of a programmatic dependent launch sees, until it waits, memory as it was before the launch before.
//
// In: regions of memory, blocks that start, run and end, fences. Out: at the end of a launch the memory as all stores leave it.
// Invariant: between launches, and where no region is shared, memory is what it is; in a launch the regions hold the view of
// the block that runs. Atomic operations are on memory outside of the regions, which all see at once.

#include <algorithm>
#include <cstring>

#include "scheduler.hpp"

namespace qwenc_host {

struct Region {
    unsigned char *at;
    size_t bytes;
};

static std::vector<Region> regions;
// The released stores of all blocks; and stores that ended blocks never released: offsets and bytes.
static Bytes visible;
static std::vector<std::pair<size_t, unsigned char>> late;
// Memory at the start of this launch, and at the start of the launch before.
static Bytes found, found_before;
static Block *owner;

static void read_memory(Bytes &to) {
    unsigned char *at = to.data();
    for (const Region &region : regions) {
        std::memcpy(at, region.at, region.bytes);
        at += region.bytes;
    }
}

static void write_memory(const Bytes &from) {
    const unsigned char *at = from.data();
    for (const Region &region : regions) {
        std::memcpy(region.at, at, region.bytes);
        at += region.bytes;
    }
}

// Calls `change(at)` for each byte in which `now` differs from `before`.
template <class Change> static void each_change(const Bytes &now, const Bytes &before, const Change &change) {
    const size_t piece = 4096;
    for (size_t begin = 0; begin < now.size(); begin += piece) {
        size_t end = std::min(begin + piece, now.size());
        if (!std::memcmp(&now[begin], &before[begin], end - begin)) continue;
        for (size_t i = begin; i < end; i++) {
            if (now[i] != before[i]) change(i);
        }
    }
}

bool has_views() { return !regions.empty(); }

void open_views() {
    size_t bytes = 0;
    for (const Region &region : regions) bytes += region.bytes;
    visible.resize(bytes);
    read_memory(visible);
    found_before.swap(found);
    found = visible;
    late.clear();
    owner = nullptr;
}

void begin_view(Block &block) {
    if (regions.empty()) return;
    block.is_early = launch.is_early && found_before.size() == visible.size();
    block.sees = block.looked = block.is_early ? found_before : visible;
    block.has_fenced = block.has_met = false;
}

void enter_view(Block &block) {
    if (regions.empty() || owner == &block) return;
    if (owner) read_memory(owner->sees);
    write_memory(block.sees);
    owner = &block;
}

void look(Block &block) {
    if (!block.has_fenced) return;
    block.has_fenced = false;
    read_memory(block.sees);
    each_change(block.sees, block.looked, [&](size_t i) { visible[i] = block.sees[i]; });
    if (block.has_met) {
        block.has_met = false;
        block.sees = visible;
        write_memory(visible);
    }
    block.looked = block.sees;
}

void wait_for_launches() {
    Block &block = *running_fiber()->warp->block;
    if (regions.empty() || !block.is_early) return;
    read_memory(block.sees);
    if (block.sees != block.looked) fail("has stored to memory before it waited for the launch before");
    block.is_early = false;
    block.sees = block.looked = found;
    write_memory(found);
}

void end_view(Block &block) {
    if (regions.empty()) return;
    enter_view(block);
    if (block.is_early) launch.error = where(block.fibers[0]) + ": its block has not waited for the launch before";
    read_memory(block.sees);
    each_change(block.sees, block.looked, [&](size_t i) { late.emplace_back(i, block.sees[i]); });
    owner = nullptr;
}

void close_views() {
    for (const auto &[at, byte] : late) visible[at] = byte;
    write_memory(visible);
}

void fence() {
    if (!regions.empty()) running_fiber()->warp->block->has_fenced = true;
}

void met() {
    if (!regions.empty()) running_fiber()->warp->block->has_met = true;
}

}  // namespace qwenc_host

// Blocks of the launches that follow see this memory as above; null: none.
extern "C" __attribute__((visibility("default"))) void qwenc_host_share(void *address, size_t bytes) {
    using namespace qwenc_host;
    if (!address) {
        found.clear();
        return regions.clear();
    }
    regions.push_back({static_cast<unsigned char *>(address), bytes});
}
