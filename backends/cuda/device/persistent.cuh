// One kernel for a whole token: phases instead of launches. As many blocks run as the device holds at a time; they share
// out a phase's blocks, and meet after each. Who waits for the others fetches its next weights to the second-level cache.

// gridDim.x and blockIdx.x, opaque to the optimiser at each call: what each phase computes from them is not kept in registers
// over the others.
__device__ inline unsigned blocks_again() {
    int blocks = gridDim.x;
    forget(blocks);
    return blocks;
}

__device__ inline unsigned block_again() {
    int block = blockIdx.x;
    forget(block);
    return block;
}

class Phases {
    unsigned* arrived;
    unsigned expected = 0;

   public:
    // Two counters: blocks that have arrived at the barriers so far, and blocks that are done.
    __device__ explicit Phases(const Step& s) : arrived(s.counters + BARRIER_COUNTERS) {}

    // The blocks of one launch, [x][y][z].
    template <class Body>
    __device__ void run(const Step& s, unsigned x, unsigned y, unsigned z, const Body& body) const {
#pragma unroll 1
        for (unsigned i = block_again(); i < x * y * z; i += blocks_again()) {
            body(s, Block{i % x, i / x % y, i / x / y, x});
            // Shared memory is free for the next one.
            __syncthreads();
        }
    }

    // What other blocks have written before is visible after. Addresses are computed again: kept over phases they would take
    // registers that a phase needs.
    template <class Work>
    __device__ void meet(Step& s, const Work& meanwhile) {
        expected += gridDim.x;
        if (threadIdx.x == 0) {
            __threadfence();
            add_release(arrived, 1);
        }
        meanwhile();
        if (threadIdx.x == 0) {
            while (load_acquire(arrived) < expected) spin_pause();
            __threadfence();
        }
        __syncthreads();
        forget(s.weights);
        forget(s.arena);
        forget(s.rows);
        forget(s.counters);
        forget(s.logits);
    }

    // Leaves the counters zero; nobody waits any more.
    __device__ void finish() const {
        if (threadIdx.x == 0 && add_release(arrived + 1, 1) == gridDim.x - 1) {
            arrived[0] = 0;
            arrived[1] = 0;
        }
    }
};

// Limit of the bytes of a linear that a block prefetches. Two linears are prefetched at a time: of 132 blocks 25 MB, half of an
// H100's second-level cache.
constexpr unsigned FETCHED = 96 * 1024;

// Prefetch of some bytes of a panel.
template <class L>
__device__ inline void fetch_panel(const Step& s, unsigned panel, size_t begin, size_t end) {
#pragma unroll 1
    for (int span = 0; span < L::SPANS; span++) {
        size_t first = begin, last = end;
        if constexpr (L::SPANS > 1) {
            size_t from = span_offset<L>(span), until = span_offset<L>(span + 1);
            first = first > from ? first : from;
            last = last < until ? last : until;
        }
        const unsigned char* from = Panels<L>(s, span).at(panel);
        for (size_t i = first + 128 * thread_again(); i < last; i += 128 * THREADS) prefetch_l2(from + i);
    }
}

// Prefetch of the weights that this block reads in a linear of `layer`, up to the limit, to the second-level cache.
template <class L>
__device__ inline void fetch_ahead(Step s, unsigned layer) {
    s.layer = layer;
    unsigned columns = min(unsigned(L::PANELS), max(blocks_again() / L::SPLITS, 1u));
    unsigned block = block_again(), split = block / columns;
    if (layer >= LAYERS || split >= L::SPLITS) return;
    size_t begin = size_t(L::PANEL_BYTES) * split / L::SPLITS, end = size_t(L::PANEL_BYTES) * (split + 1) / L::SPLITS;
    unsigned fetched = 0;
    for (unsigned panel = block % columns; panel < L::PANELS && fetched < FETCHED; panel += columns) {
        size_t most = begin + FETCHED - fetched, until = end < most ? end : most;
        fetch_panel<L>(s, panel, begin, until);
        fetched += unsigned(until - begin);
    }
}
