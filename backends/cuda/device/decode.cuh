// Linears for few tokens, bound by memory: a warp takes a chain of a panel, a block 8 chains, `SPLITS` blocks a panel.
// The weights' loads run some steps ahead, over the end of a panel into the next, and the first are under way while the
// inputs are prepared.

// One chain of one panel after the other. `x` is [step][plane][tokens][8 words] from the chain's first step on, `groups`
// [unit][tokens] from its first unit on; lane (g, t) reads token g, or the only one.
template <class L, int N, bool ONE>
struct Chain {
    const unsigned char* panel;
    int lane, first, count;
    // Two blocks on a multiprocessor leave a thread 128 registers: 64 of them for 8 steps of floats, whose sums take few.
    static constexpr int AHEAD = L::Decoder::AHEAD;
    // Steps of weights under way. What is not loaded is zero: a register that may keep its value from an earlier chain
    // would be taken all the time.
    Weights<L> next[AHEAD] = {};

    __device__ Chain(const unsigned char* panel, int chain) : panel(panel), lane(thread_again() % 32) {
        int begin = chain_begin<L>(chain), end = chain_begin<L>(chain + 1);
        first = begin * L::UNIT_STEPS;
        count = (end - 1 - begin) * L::UNIT_STEPS + steps_of<L>(end - 1);
        // A loop whose length is known would be unrolled, and its loads gathered behind its products.
        forget(count);
#pragma unroll
        for (int j = 0; j < AHEAD; j++) load(panel, j, j);
    }

    __device__ bool ends_group(int at) const { return (at + 1) % L::UNIT_STEPS == 0 || at + 1 == count; }

    __device__ void load(const unsigned char* from, int at, int j) {
        next[j].load(from, lane, first + at, ends_group(at), from != nullptr && at < count);
    }

    // Adds this panel's products; `after` is the panel that comes next, or null.
    __device__ void run(Sums<L, N>& sums, const uint2* x, const GroupOf<L>* groups, int tokens, const unsigned char* after) {
        int g = ONE ? 0 : lane / 4, t = lane % 4;
#pragma unroll 1
        for (int begin = 0; begin < count; begin += AHEAD) {
#pragma unroll
            for (int j = 0; j < AHEAD; j++) {
                int at = begin + j;
                if (at >= count) break;
                // From the registers that the next load goes to, and before it: a load to others would be copied, and the
                // copy waits for it.
                sums.multiply(
                    next[j], [&](int plane, int n) { return x[((at * L::PLANES + plane) * tokens + 8 * n + g) * 4 + t]; },
                    [&](auto part) {
                        if (!ends_group(at)) return;
                        const GroupOf<L>* of_unit = groups + at / L::UNIT_STEPS * tokens;
                        sums.end_part(next[j], part, [&](int n, int odd) { return of_unit[ONE ? 0 : 8 * n + 2 * t + odd]; });
                    });
                bool more = at + AHEAD < count;
                load(more ? panel : after, more ? at + AHEAD : j, j);
            }
        }
        panel = after;
    }
};

// A chain's sums to `to`, [tokens][32].
template <class L, int N, bool ONE>
__device__ inline void store_sums(const Sums<L, N>& sums, float* to) {
    int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    float4* rows = reinterpret_cast<float4*>(to) + g;
    if constexpr (ONE) {
        if (t == 0) *rows = sums.rows(0, 0);
    } else {
        for (int n = 0; n < N; n++) {
            for (int odd = 0; odd < 2; odd++) rows[(8 * n + 2 * t + odd) * 8] = sums.rows(n, odd);
        }
    }
}

// All chains of a panel, [chain][tokens][32], to results; `FRESH` where other blocks wrote some.
template <class L, int TOKENS, bool FRESH>
__device__ inline void add_chains(const Step& s, const float* chains, int panel) {
    int thread = thread_again(), row = thread % 32;
    for (unsigned token = thread / 32; token < TOKENS; token += THREADS / 32) {
        float v = sum_of_chains<L>([&](int chain) {
            const float* from = chains + (chain * TOKENS + token) * 32 + row;
            return FRESH ? load_fresh(from) : *from;
        });
        if (token < tokens_of<L>(s)) store_row<L>(s, token, panel, row, v);
    }
}

// Shared memory: the sums of 8 chains, a flag, and for one token its prepared inputs and the RMSNorm gain. Loads of weights, and
// of the gain, are issued before the wait for earlier launches, which compute the inputs.
template <class L, int N, bool ONE>
__device__ inline void linear_decode(const Step& s, const Block& at) {
    constexpr int WARPS = THREADS / 32, TOKENS = ONE ? 1 : 8 * N;
    float* chains = reinterpret_cast<float*>(shared_memory());
    int* flag = reinterpret_cast<int*>(chains + WARPS * TOKENS * 32);
    uint2* x = reinterpret_cast<uint2*>(flag + 32);
    // This block's chains, and their first unit.
    int split = at.y, low = split * WARPS, high = min(low + WARPS, L::CHAINS), base = chain_begin<L>(low);
    int chain = low + thread_again() / 32;
    bool busy = chain < high;
    Panels<L> panels(s, busy ? chain / CHAINS_OF_SPAN<L> : 0);
    Chain<L, N, ONE> work(panels.at(at.x), busy ? chain : 0);
    const GroupOf<L>* groups;
    unsigned tokens = 1;
    if constexpr (ONE) {
        int last = chain_begin<L>(high), steps = (last - 1 - base) * L::UNIT_STEPS + steps_of<L>(last - 1);
        GroupOf<L>* to = reinterpret_cast<GroupOf<L>*>(x + steps * L::PLANES * 4);
        // Behind the groups, at the next multiple of 16 bytes.
        constexpr int GROUP_BYTES = L::Decoder::FORM == INTS ? sizeof(GroupOf<L>) : 0;
        float* gain = reinterpret_cast<float*>(to) + ((last - base) * GROUP_BYTES + 15) / 16 * 4;
        copy_gain<L>(s, base * L::GROUP, min(last * L::GROUP, L::COLS), gain);
        wait_for_earlier_launches();
        const float* gain_from_0 = L::HAS_GAIN ? gain - base * L::GROUP : nullptr;
        Source source = open_row<L>(row_of<typename L::Input>(s, input_row<L>(s, 0)), gain_from_0, chains);
        if constexpr (L::Decoder::FORM == FLOATS) {
            prepare_floats<L>(source, reinterpret_cast<unsigned*>(x), 1, base, last);
        } else {
            prepare_ints<L>(source, reinterpret_cast<unsigned*>(x), to, 1, base, last);
        }
        groups = to;
        __syncthreads();
    } else {
        wait_for_earlier_launches();
        tokens = 16;
        x = reinterpret_cast<uint2*>(prepared_planes<L>(s)) + size_t(base) * L::UNIT_STEPS * L::PLANES * tokens * 4;
        groups = prepared_groups<L>(s, tokens) + size_t(base) * tokens;
    }
#pragma unroll 1
    for (int panel = at.x; panel < L::PANELS; panel += at.columns) {
        Sums<L, N> sums;
        if (busy) {
            int units = chain_begin<L>(chain) - base, after = panel + at.columns;
            const unsigned char* next = after < L::PANELS ? panels.at(after) : nullptr;
            work.run(sums, x + size_t(units) * L::UNIT_STEPS * L::PLANES * tokens * 4, groups + units * tokens, tokens, next);
            store_sums<L, N, ONE>(sums, chains + (chain - low) * TOKENS * 32);
        }
        __syncthreads();
        if constexpr (L::SPLITS == 1) {
            add_chains<L, TOKENS, false>(s, chains, panel);
        } else {
            float* all = reinterpret_cast<float*>(s.arena + PARTIALS_OFFSET) + size_t(panel) * L::CHAINS * TOKENS * 32;
            for (int i = threadIdx.x; i < (high - low) * TOKENS * 32; i += THREADS) all[low * TOKENS * 32 + i] = chains[i];
            if (is_last_block(s.counters + L::COUNTERS + panel, L::SPLITS, flag)) add_chains<L, TOKENS, true>(s, all, panel);
        }
        __syncthreads();
    }
}
