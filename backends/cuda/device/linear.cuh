// What all linears of bf16 and integers share: steps of weights to fragments, products, sums, results.
//
// A panel is 32 rows of weights. In a step of 8 words lane (g, t) reads 16 bytes, rows 4g to 4g+3 of a word: together
// they are two tiles of 16 rows, (4g, 4g+1) and (4g+2, 4g+3), in which g and g+8 are the instruction's row. So panels
// go from memory to the tensor cores as they lie.
//
// The inputs are cut into spans, each a chain of sums of its own, which are then added in order: whoever computes them,
// in whatever company, a token's result has the same bits.

template <class L>
__device__ constexpr int span_begin(int span) {
    return static_cast<int>(static_cast<long long>(span) * L::UNITS / L::SPANS);
}

// Where a step's words stand in a panel.
template <class L>
__device__ constexpr unsigned step_offset(int step) {
    return step / L::UNIT_STEPS * L::UNIT_BYTES + L::SCALE_BYTES + step % L::UNIT_STEPS * L::STEP_BYTES;
}

// One lane's share of a step of weights, and the scales of its rows.
template <class L>
struct Weights {
    uint4 words[L::TYPE == INT4 ? 1 : 2];
    uint4 scales;

    // Predicated load from global memory; the scales only with the step that ends a group.
    __device__ void load(const unsigned char* panel, int lane, int step, bool ends_group, bool wanted) {
        int t = lane % 4;
        const unsigned char* at = panel + step_offset<L>(step) + t * 128 + lane / 4 * 16;
        for (int half = 0; half < (L::TYPE == INT4 ? 1 : 2); half++) {
            bool inside = true;
            if constexpr (L::TYPE == BF16 && L::COLS % 16 != 0) {
                // Past the last pair of inputs there may be anything, even what is no number.
                inside = 8 * step + 4 * half + t < (L::COLS + 1) / 2;
                words[half] = make_uint4(0, 0, 0, 0);
            }
            load_once(words[half], at + half * 512, wanted && inside);
        }
        const unsigned char* unit = panel + step / L::UNIT_STEPS * L::UNIT_BYTES;
        if constexpr (L::SCALE_BYTES == 128) {
            load_once(scales, unit + lane / 4 * 16, wanted && ends_group);
        } else if constexpr (L::SCALE_BYTES == 64) {
            uint2 v = make_uint2(scales.x, scales.y);
            load_once(v, unit + lane / 4 * 8, wanted && ends_group);
            scales = make_uint4(v.x, v.y, 0, 0);
        }
    }

    // From shared memory.
    __device__ void load_scales(const unsigned char* unit, int g) {
        if constexpr (L::SCALE_BYTES == 128) {
            scales = *reinterpret_cast<const uint4*>(unit + 16 * g);
        } else if constexpr (L::SCALE_BYTES == 64) {
            uint2 v = *reinterpret_cast<const uint2*>(unit + 8 * g);
            scales = make_uint4(v.x, v.y, 0, 0);
        }
    }

    __device__ float scale(int row) const {
        unsigned words[4] = {scales.x, scales.y, scales.z, scales.w};
        if constexpr (L::SCALE_BYTES == 64) {
            return from_f16(static_cast<unsigned short>(words[row / 2] >> (16 * (row % 2))));
        } else {
            return __uint_as_float(words[row]);
        }
    }

    // The instruction's operand for one of the two tiles.
    __device__ void fragment(int tile, unsigned (&a)[4]) const {
        uint4 first = words[0], second;
        if constexpr (L::TYPE == INT4) {
            const unsigned low = 0x0f0f0f0f;
            second = make_uint4(first.x >> 4 & low, first.y >> 4 & low, first.z >> 4 & low, first.w >> 4 & low);
            first = make_uint4(first.x & low, first.y & low, first.z & low, first.w & low);
        } else {
            second = words[1];
        }
        a[0] = tile == 0 ? first.x : first.z;
        a[1] = tile == 0 ? first.y : first.w;
        a[2] = tile == 0 ? second.x : second.z;
        a[3] = tile == 0 ? second.y : second.w;
    }
};

// Sums of 32 rows and N * 8 tokens, by the warp. Lane (g, t) has rows 4g to 4g+3 of tokens 2t and 2t+1 of every 8.
template <class L, int N>
struct Sums {
    static constexpr bool INTS = L::TYPE != BF16;
    float f[N][2][4] = {};
    int i[INTS ? L::PLANES : 1][INTS ? N : 1][2][4] = {};

    // One step; `x` gives this lane's two words of a plane and eight tokens.
    template <class Words>
    __device__ void multiply(const Weights<L>& weights, const Words& x) {
        for (int tile = 0; tile < 2; tile++) {
            unsigned a[4];
            weights.fragment(tile, a);
            for (int plane = 0; plane < L::PLANES; plane++) {
                for (int n = 0; n < N; n++) {
                    uint2 b = x(plane, n);
                    if constexpr (INTS) {
                        mma_u8s8(i[plane][n][tile], a, b.x, b.y);
                    } else {
                        mma_bf16(f[n][tile], a, b.x, b.y);
                    }
                }
            }
        }
    }

    // A group is complete: its integers become floats. `group` gives a token's.
    template <class Groups>
    __device__ void end_group(const Weights<L>& weights, const Groups& group) {
        if constexpr (INTS) {
            for (int n = 0; n < N; n++) {
                for (int c = 0; c < 4; c++) {
                    Group x = group(n, c % 2);
                    for (int tile = 0; tile < 2; tile++) {
                        int& high = i[0][n][tile][c];
                        int sum = L::PLANES == 1 ? high : 128 * high + i[L::PLANES - 1][n][tile][c];
                        float scale = weights.scale(2 * tile + c / 2) * x.scale;
                        float& to = f[n][tile][c];
                        to = fmaf(static_cast<float>(sum - x.correction), scale, to);
                        high = 0;
                        i[L::PLANES - 1][n][tile][c] = 0;
                    }
                }
            }
        }
    }

    // Rows 4g to 4g+3 of token 2t + odd of the n-th eight.
    __device__ float4 rows(int n, int odd) const {
        return make_float4(f[n][0][odd], f[n][0][2 + odd], f[n][1][odd], f[n][1][2 + odd]);
    }
};

// silu(gate) * up.
__device__ inline float swiglu(float gate, float up) { return gate / (1.0f + expf(-gate)) * up; }

// What a sum of spans becomes: `v` is row `row` of `panel` for one token; all lanes of the warp have the rows in order.
template <class L>
__device__ inline void store_row(const Step& s, unsigned token, int panel, int row, float v) {
    int column = L::FIRST + 32 * panel + row;
    if constexpr (L::CUT) {
        // Another linear writes the columns behind.
        if (column >= L::END) return;
    }
    if constexpr (L::HAS_BIAS) v += reinterpret_cast<const float*>(segment<typename L::Bias>(s))[column];
    if constexpr (L::PAIRED) {
        float up = __shfl_down_sync(~0u, v, 16);
        if (row < 16) row_of<typename L::Output>(s, token)[16 * panel + row] = swiglu(v, up);
    } else if constexpr (L::LOGITS) {
        s.logits[static_cast<size_t>(token) * LOGITS_STRIDE + column] = v;
    } else {
        float* out = row_of<typename L::Output>(s, token) + column;
        *out = L::RESIDUAL ? *out + v : v;
    }
}

// The row that a linear's token reads: the head runs on wanted outputs only.
template <class L>
__device__ inline unsigned input_row(const Step& s, unsigned token) {
    return L::LOGITS ? s.outputs[token] : token;
}

// Tokens of a linear in this step.
template <class L>
__device__ inline unsigned tokens_of(const Step& s) {
    return L::LOGITS ? s.n_outputs : s.n_rows;
}

// Tokens that the prepared form has room for.
__device__ inline unsigned padded_tokens(unsigned tokens) { return tokens <= 16 ? 16 : (tokens + 127) / 128 * 128; }

template <class L>
__device__ inline unsigned* prepared_planes(const Step& s) {
    return reinterpret_cast<unsigned*>(s.scratch(PREPARED_OFFSET));
}

// Behind the planes: [unit][tokens].
template <class L>
__device__ inline Group* prepared_groups(const Step& s, unsigned tokens) {
    return reinterpret_cast<Group*>(prepared_planes<L>(s) + size_t(L::STEPS) * L::PLANES * tokens * 8);
}

// A block prepares one token's inputs.
template <class L>
__device__ inline void prepare(const Step& s, const Block& at) {
    unsigned token = at.x, tokens = padded_tokens(tokens_of<L>(s));
    float* sums = reinterpret_cast<float*>(shared_memory());
    Source source = open_row<L>(row_of<typename L::Input>(s, input_row<L>(s, token)), gain_of<L>(s), sums);
    if constexpr (L::TYPE == F32) {
        float* out = reinterpret_cast<float*>(s.scratch(PREPARED_OFFSET)) + size_t(token) * L::COLS;
        for (int c = threadIdx.x; c < L::COLS; c += THREADS) out[c] = source.at(c);
    } else if constexpr (L::TYPE == BF16) {
        prepare_floats<L>(source, prepared_planes<L>(s) + token * 8, tokens, 0, L::STEPS);
    } else {
        Group* groups = prepared_groups<L>(s, tokens) + token;
        prepare_ints<L>(source, prepared_planes<L>(s) + token * 8, groups, tokens, 0, L::UNITS);
    }
}
