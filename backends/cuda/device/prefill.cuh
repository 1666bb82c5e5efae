// Linears for many tokens, bound by the tensor cores: a block takes 4 panels and 16 * N tokens, a warp one panel and half
// of the tokens. Weights and prepared inputs pass through shared memory, some stages ahead.

template <class L, int N>
struct Tile {
    static constexpr int TOKENS = 16 * N;
    using Decoder = typename L::Decoder;
    static constexpr bool INTEGER = Decoder::FORM == INTS;
    // Bytes of one step: weights, a unit's scales and its block's, inputs, groups.
    static constexpr int PANEL_SCALES = L::SCALE_BYTES + L::HEAD_BYTES;
    static constexpr int WEIGHTS = TILE_PANELS * L::STEP_BYTES, SCALES = TILE_PANELS * PANEL_SCALES;
    static constexpr int INPUTS = L::PLANES * TOKENS * 32, GROUPS = INTEGER ? TOKENS * sizeof(GroupOf<L>) : 0;
    static constexpr int BYTES = WEIGHTS + SCALES + INPUTS + GROUPS;

    const Step& s;
    unsigned char* shared;
    int first_panel;
    unsigned first_token, tokens;
    // Panels that are copied, and the step behind the last of their span.
    int span = 0, span_end = L::span_begin(1) * L::UNIT_STEPS;
    Panels<L> panels = {s, 0};

    // Swizzled offset in shared memory of a chunk of 16 bytes of a panel's step. Lane (g, t) reads chunk g of row t of 8;
    // unswizzled, the lanes that read together, two values of g and all of t, would conflict in two of the eight columns of banks.
    __device__ static int swizzled(int byte) { return byte ^ (byte / 128 % 4 * 32); }

    // Calls `copy` for this thread's chunks of a region, whose number is known at compile time.
    template <int REGION, class Copy>
    __device__ static void each_chunk(const Copy& copy) {
#pragma unroll
        for (int begin = 0; begin < REGION; begin += 16 * THREADS) {
            int at = begin + 16 * threadIdx.x;
            if (begin + 16 * THREADS <= REGION || at < REGION) copy(at);
        }
    }

    __device__ bool has_panel(int panel) const {
        return L::PANELS % TILE_PANELS == 0 || first_panel + panel < L::PANELS;
    }

    // Starts the copies of a step, in order. Every region is a multiple of 16 bytes.
    __device__ void copy(int step, unsigned char* to) {
        if (L::SPANS == 1) {
            // No registers over the steps.
            panels = {s, 0};
        } else if (step == span_end) {
            panels = {s, ++span};
            span_end = L::span_begin(span + 1) * L::UNIT_STEPS;
        }
        const unsigned char* weights = panels.at(first_panel);
        each_chunk<WEIGHTS>([&](int at) {
            int panel = at / L::STEP_BYTES, byte = at % L::STEP_BYTES;
            bool valid = has_panel(panel);
            if constexpr (Decoder::template CUT<L>) valid = valid && Decoder::template inside<L>(step, 0, byte / 128);
            const unsigned char* from = weights + panels.in_tile(first_panel, panel) + step_offset<L>(step) + byte;
            copy_async16(to + swizzled(at), valid ? from : weights, valid);
        });
        if constexpr (SCALES > 0) {
            each_chunk<SCALES>([&](int at) {
                int panel = at / PANEL_SCALES, byte = at % PANEL_SCALES, unit = step / L::UNIT_STEPS;
                bool valid = has_panel(panel);
                bool of_unit = byte < L::SCALE_BYTES;
                unsigned offset = of_unit ? unit_offset<L>(unit) + byte : block_offset<L>(unit) + byte - L::SCALE_BYTES;
                const unsigned char* from = weights + panels.in_tile(first_panel, panel) + offset;
                copy_async16(to + WEIGHTS + at, valid ? from : weights, valid);
            });
        }
        const unsigned char* planes = reinterpret_cast<const unsigned char*>(prepared_planes<L>(s)) + first_token * 32;
        each_chunk<INPUTS>([&](int at) {
            int plane = at / (TOKENS * 32), byte = at % (TOKENS * 32);
            copy_async16(to + WEIGHTS + SCALES + at, planes + size_t(step * L::PLANES + plane) * tokens * 32 + byte, true);
        });
        if constexpr (GROUPS > 0) {
            const GroupOf<L>* groups = prepared_groups<L>(s, tokens) + size_t(step / L::UNIT_STEPS) * tokens + first_token;
            each_chunk<GROUPS>([&](int at) {
                const unsigned char* from = reinterpret_cast<const unsigned char*>(groups) + at;
                copy_async16(to + WEIGHTS + SCALES + INPUTS + at, from, true);
            });
        }
    }

    __device__ void copy_stage(int stage) {
        unsigned char* to = shared + stage % STAGES * STAGE_STEPS * BYTES;
        for (int j = 0; j < STAGE_STEPS; j++) {
            if (stage * STAGE_STEPS + j < L::STEPS) copy(stage * STAGE_STEPS + j, to + j * BYTES);
        }
        copy_async_commit();
    }

    // The step's products for this warp.
    __device__ void multiply(const unsigned char* at, int step, Sums<L, N>& sums) const {
        int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, warp = threadIdx.x / 32;
        int panel = warp % TILE_PANELS, half = warp / TILE_PANELS * 8 * N;
        Weights<L> weights;
        for (int i = 0; i < Decoder::LOADS; i++) {
            int line = panel * L::STEP_BYTES + int(Decoder::line(i, t));
            weights.words[i] = *reinterpret_cast<const uint4*>(at + line + (g * 16 ^ line / 128 % 4 * 32));
        }
        const uint2* x = reinterpret_cast<const uint2*>(at + WEIGHTS + SCALES);
        sums.multiply(
            weights, [&](int plane, int n) { return x[(plane * TOKENS + half + 8 * n + g) * 4 + t]; },
            [&](auto part) {
                if ((step + 1) % L::UNIT_STEPS != 0 && step + 1 != L::STEPS) return;
                if (part == 0) weights.scales.load_shared(at + WEIGHTS + panel * PANEL_SCALES, g);
                const GroupOf<L>* groups = reinterpret_cast<const GroupOf<L>*>(at + WEIGHTS + SCALES + INPUTS) + half;
                sums.end_part(weights, part, [&](int n, int odd) { return groups[8 * n + 2 * t + odd]; });
            });
    }
};

// Four rows of one token; `up` are those of the lane with the up values.
template <class L>
__device__ inline void store_rows(const Step& s, unsigned token, bool wanted, int panel, float4 v) {
    int g = threadIdx.x % 32 / 4;
    if constexpr (L::CUT || L::FIRST % 4 != 0) {
        const float rows[4] = {v.x, v.y, v.z, v.w};
        for (int i = 0; wanted && i < 4; i++) store_row<L>(s, token, panel, 4 * g + i, rows[i]);
        return;
    }
    if constexpr (L::HAS_BIAS) {
        const float4* bias = reinterpret_cast<const float4*>(segment<typename L::Bias>(s)) + L::FIRST / 4 + 8 * panel;
        v = make_float4(v.x + bias[g].x, v.y + bias[g].y, v.z + bias[g].z, v.w + bias[g].w);
    }
    if constexpr (L::PAIRED) {
        float4 up = make_float4(__shfl_xor_sync(~0u, v.x, 16), __shfl_xor_sync(~0u, v.y, 16),
                                __shfl_xor_sync(~0u, v.z, 16), __shfl_xor_sync(~0u, v.w, 16));
        v = make_float4(swiglu(v.x, up.x), swiglu(v.y, up.y), swiglu(v.z, up.z), swiglu(v.w, up.w));
        wanted = wanted && g < 4;
    }
    if (!wanted) return;
    float4* out;
    if constexpr (L::LOGITS) {
        out = reinterpret_cast<float4*>(s.logits + static_cast<size_t>(token) * LOGITS_STRIDE + 32 * panel) + g;
    } else {
        float* row = row_of<typename L::Output>(s, token) + L::FIRST;
        out = reinterpret_cast<float4*>(row + (L::PAIRED ? 16 : 32) * panel) + g;
    }
    if constexpr (L::RESIDUAL) v = make_float4(out->x + v.x, out->y + v.y, out->z + v.z, out->w + v.w);
    *out = v;
}

// Sums of all chains so far. `Waiting` is in the thread's memory: on each level sums of twice as many spans as on the one below,
// which wait for those of as many spans behind them.
template <class L, int N>
struct Total {
    static constexpr int COUNT = N * 8;
    // Registers for sums that leave a thread enough for all else, and sets of sums in `Sums`.
    static constexpr int MOST = 160, SETS = 1 + (L::Decoder::FORM == INTS ? L::PLANES : 0);
    // Whether there are registers for two spans; where a span is one chain, the second one's sum needs none of its own.
    static constexpr bool TWO = L::SPANS > 1 && (CHAINS_OF_SPAN<L> == 1 || (SETS + 2) * COUNT <= MOST);
    static constexpr int TOGETHER = TWO ? 2 : 1, LEVELS = (L::SPANS > 4) + (L::SPANS > 2) + (L::SPANS > 1) - TWO;
    using Waiting = float[LEVELS > 0 ? LEVELS : 1][COUNT];

    // Sums of the chains of a span, and of those of the next one. The first is the result at the end.
    float sum[COUNT] = {}, next[COUNT] = {};
    Waiting& waiting;

    __device__ explicit Total(Waiting& waiting) : waiting(waiting) {}

    // A chain is complete.
    __device__ void add(float (&chain)[N][2][4], int number) {
        int span = number / CHAINS_OF_SPAN<L>;
        bool ends_span = (number + 1) % CHAINS_OF_SPAN<L> == 0;
        if (TWO && span % 2 == 1) {
            move(chain, next);
            if (!ends_span) return;
            for (int i = 0; i < COUNT; i++) {
                sum[i] += next[i];
                next[i] = 0;
            }
        } else {
            move(chain, sum);
            if (TWO || !ends_span) return;
        }
        if constexpr (LEVELS > 0) join(span / TOGETHER);
    }

    __device__ void move(float (&chain)[N][2][4], float (&to)[COUNT]) {
        for (int i = 0; i < COUNT; i++) {
            to[i] += chain[i / 8][i / 4 % 2][i % 4];
            chain[i / 8][i / 4 % 2][i % 4] = 0;
        }
    }

    // A binary counter: the levels that wait are its set bits.
    __device__ void join(int counter) {
        // An index that is not known keeps the array in memory.
        int level = 0;
        forget(level);
#pragma unroll 1
        for (; level < LEVELS && (counter >> level) % 2 == 1; level++) {
            for (int i = 0; i < COUNT; i++) sum[i] = waiting[level][i] + sum[i];
        }
        if (level == LEVELS) return;
        for (int i = 0; i < COUNT; i++) {
            waiting[level][i] = sum[i];
            sum[i] = 0;
        }
    }
};

template <class L, int N>
__device__ inline void linear_prefill(const Step& s, const Block& at) {
    unsigned tokens = padded_tokens(tokens_of<L>(s));
    Tile<L, N> tile = {s, shared_memory(), int(at.y) * TILE_PANELS, at.x * Tile<L, N>::TOKENS, tokens};
    constexpr int COUNT = (L::STEPS + STAGE_STEPS - 1) / STAGE_STEPS;
    for (int stage = 0; stage < STAGES - 1; stage++) tile.copy_stage(stage);
    Sums<L, N> sums;
    typename Total<L, N>::Waiting waiting;
    Total<L, N> total(waiting);
    int chain = 0, end = chain_begin<L>(1);
    for (int stage = 0; stage < COUNT; stage++) {
        copy_async_wait<STAGES - 2>();
        __syncthreads();
        tile.copy_stage(stage + STAGES - 1);
        for (int j = 0; j < STAGE_STEPS; j++) {
            int step = stage * STAGE_STEPS + j;
            if (step >= L::STEPS) break;
            tile.multiply(tile.shared + (stage % STAGES * STAGE_STEPS + j) * Tile<L, N>::BYTES, step, sums);
            // Even chains need no register over the steps.
            if constexpr (L::EVEN) end = chain_begin<L>(chain + 1);
            if (step + 1 == end * L::UNIT_STEPS || step + 1 == L::STEPS) {
                total.add(sums.f, chain++);
                end = chain_begin<L>(chain + 1);
            }
        }
    }
    int lane = threadIdx.x % 32, t = lane % 4, warp = threadIdx.x / 32;
    int panel = tile.first_panel + warp % TILE_PANELS;
    if (panel >= L::PANELS) return;
    for (int n = 0; n < N; n++) {
        for (int odd = 0; odd < 2; odd++) {
            unsigned token = tile.first_token + warp / TILE_PANELS * 8 * N + 8 * n + 2 * t + odd;
            const float* sum = total.sum + 8 * n + odd;
            float4 rows = make_float4(sum[0], sum[2], sum[4], sum[6]);
            store_rows<L>(s, token, token < tokens_of<L>(s), panel, rows);
        }
    }
}
