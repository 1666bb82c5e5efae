// Weakly ordered memory: each block has a view of its own, with its stores and, of others', those that were visible at its last
// acquire. A fence releases a block's stores; one after an atomic operation, by which the block may have synchronised with
// another, also acquires. So a store without a release never reaches another block, and a load without an acquire is stale.
//
// In: regions of memory, blocks that start, run and end, fences. Out: at the end of a launch the memory as all stores leave it.
// Invariant: between launches, and where no region is shared, memory is what it is; in a launch the regions hold the view of
// the block that runs. Atomic operations are on memory outside of the regions, which all see at once.

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

bool has_views() { return !regions.empty(); }

void open_views() {
    size_t bytes = 0;
    for (const Region &region : regions) bytes += region.bytes;
    visible.resize(bytes);
    read_memory(visible);
    late.clear();
    owner = nullptr;
}

void begin_view(Block &block) {
    if (regions.empty()) return;
    block.sees = block.looked = visible;
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
    for (size_t i = 0; i < visible.size(); i++) {
        if (block.sees[i] != block.looked[i]) visible[i] = block.sees[i];
    }
    if (block.has_met) {
        block.has_met = false;
        block.sees = visible;
        write_memory(visible);
    }
    block.looked = block.sees;
}

void end_view(Block &block) {
    if (regions.empty()) return;
    enter_view(block);
    read_memory(block.sees);
    for (size_t i = 0; i < visible.size(); i++) {
        if (block.sees[i] != block.looked[i]) late.emplace_back(i, block.sees[i]);
    }
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
    if (!address) return regions.clear();
    regions.push_back({static_cast<unsigned char *>(address), bytes});
}
