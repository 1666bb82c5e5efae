// What all linears of bf16 and integers share: steps of weights to fragments, products, sums, results.
//
// A panel is 32 rows of weights. In a step of 8 words lane (g, t) reads 16 bytes, rows 4g to 4g+3 of a word: together
// they are two tiles of 16 rows, (4g, 4g+1) and (4g+2, 4g+3), in which g and g+8 are the instruction's row. So panels
// go from memory to the tensor cores as they lie.
//
// The plan cuts some matrices into spans of columns, and each span of a row's inputs is cut into chains of sums. The chains of a
// span are added in order, spans as a complete binary tree: whoever computes them, in whatever company, a token's result
// has the same bits.

template <class L>
constexpr int CHAINS_OF_SPAN = L::CHAINS / L::SPANS;

// The first unit of a chain, or the end of the last.
template <class L>
__device__ constexpr int chain_begin(int chain) {
    if constexpr (L::EVEN) {
        return static_cast<int>(static_cast<long long>(chain) * L::UNITS / L::CHAINS);
    } else {
        int span = chain / CHAINS_OF_SPAN<L>, begin = L::span_begin(span), units = L::span_begin(span + 1) - begin;
        return begin + units * (chain % CHAINS_OF_SPAN<L>) / CHAINS_OF_SPAN<L>;
    }
}

// The sum of all chains of a row; `of` gives a chain's.
template <class L, class Of>
__device__ inline float sum_of_chains(const Of& of) {
    float spans[L::SPANS];
#pragma unroll
    for (int span = 0; span < L::SPANS; span++) {
        float v = 0;
        for (int i = 0; i < CHAINS_OF_SPAN<L>; i++) v += of(span * CHAINS_OF_SPAN<L> + i);
        spans[span] = v;
    }
#pragma unroll
    for (int apart = 1; apart < L::SPANS; apart *= 2) {
#pragma unroll
        for (int span = 0; span < L::SPANS; span += 2 * apart) spans[span] += spans[span + apart];
    }
    return spans[0];
}

// The offset of a span's first column in a panel of all columns, or the panel's end.
template <class L>
__device__ constexpr unsigned span_offset(int span) {
    return span < L::SPANS ? block_offset<L>(L::span_begin(span)) : L::PANEL_BYTES;
}

// The panels of a span. They stand in strips of L::STRIP panels, which have their columns span by span. Addresses are those of
// panels of all columns, of which only the span's may be read: `step_offset` and `unit_offset` go for them.
template <class L>
struct Panels {
    const unsigned char* first;
    unsigned bytes;

    __device__ Panels(const Step& s, int span) : first(segment<typename L::Weight>(s)), bytes(L::PANEL_BYTES) {
        if constexpr (L::STRIP > 1) {
            unsigned begin = span_offset<L>(span);
            first += size_t(L::STRIP - 1) * begin;
            bytes = span_offset<L>(span + 1) - begin;
        }
    }

    // Bytes from the first panel to this one.
    __device__ size_t offset(int panel) const {
        if constexpr (L::STRIP == 1) return size_t(panel) * bytes;
        return size_t(panel / L::STRIP * L::STRIP) * L::PANEL_BYTES + size_t(panel % L::STRIP) * bytes;
    }

    __device__ const unsigned char* at(int panel) const { return first + offset(panel); }

    // Bytes from a panel that begins a tile to one of the same tile.
    __device__ size_t in_tile(int begin, int panel) const {
        if constexpr (L::STRIP == 1 || L::STRIP % TILE_PANELS == 0) {
            return size_t(panel) * bytes;
        } else {
            return offset(begin + panel) - offset(begin);
        }
    }
};

// Where a step's words stand in a panel.
template <class L>
__device__ constexpr unsigned step_offset(int step) {
    return unit_offset<L>(step / L::UNIT_STEPS) + L::SCALE_BYTES + step % L::UNIT_STEPS * L::STEP_BYTES;
}

// One lane's share of a step of weights, and the scales of its rows.
template <class L>
struct Weights {
    using Decoder = typename L::Decoder;
    uint4 words[Decoder::LOADS];
    typename Decoder::template Scales<L> scales;

    // Predicated load from global memory; the scales only with the step that ends a group.
    __device__ void load(const unsigned char* panel, int lane, int step, bool ends_group, bool wanted) {
        int g = lane / 4, t = lane % 4;
        const unsigned char* at = panel + step_offset<L>(step) + g * 16;
        for (int i = 0; i < Decoder::LOADS; i++) {
            bool inside = true;
            if constexpr (Decoder::template CUT<L>) {
                inside = Decoder::template inside<L>(step, i, t);
                words[i] = make_uint4(0, 0, 0, 0);
            }
            load_once(words[i], at + Decoder::line(i, t), wanted && inside);
        }
        scales.load(panel, step / L::UNIT_STEPS, g, wanted && ends_group);
    }

    // The instruction's operand for one of the two tiles, of the columns of a part.
    __device__ void fragment(int tile, int part, unsigned (&a)[4]) const {
        uint4 first, second;
        Decoder::words(words, threadIdx.x % 4, part, first, second);
        a[0] = tile == 0 ? first.x : first.z;
        a[1] = tile == 0 ? first.y : first.w;
        a[2] = tile == 0 ? second.x : second.z;
        a[3] = tile == 0 ? second.y : second.w;
    }
};

// Sums of 32 rows and N * 8 tokens, by the warp. Lane (g, t) has rows 4g to 4g+3 of tokens 2t and 2t+1 of every 8.
template <class L, int N>
struct Sums {
    static constexpr bool INTEGER = L::Decoder::FORM == INTS;
    float f[N][2][4] = {};
    int i[INTEGER ? L::PLANES : 1][INTEGER ? N : 1][2][4] = {};

    // One step; `x` gives this lane's two words of a plane and eight tokens. `end` is called after the products of each part of
    // integers, and ends the part if the step ends a group; generic, since floats have no parts to end.
    template <class Words, class End>
    __device__ void multiply(Weights<L>& weights, const Words& x, const End& end) {
        if constexpr (INTEGER) {
            for (int part = 0; part < L::Decoder::PARTS; part++) {
                multiply_part(weights, part, x);
                end(part);
            }
        } else {
            multiply_part(weights, 0, x);
        }
    }

    // The columns of a part of a step.
    template <class Words>
    __device__ void multiply_part(const Weights<L>& weights, int part, const Words& x) {
        for (int tile = 0; tile < 2; tile++) {
            unsigned a[4];
            weights.fragment(tile, part, a);
            for (int plane = 0; plane < L::PLANES; plane++) {
                for (int n = 0; n < N; n++) {
                    uint2 b = x(plane, n);
                    if constexpr (INTEGER) {
                        mma_u8s8(i[plane][n][tile], a, b.x, b.y);
                    } else {
                        mma_bf16(f[n][tile], a, b.x, b.y);
                    }
                }
            }
        }
    }

    // A part of a group is complete: its integers become floats. `group` gives a token's.
    template <class Groups>
    __device__ void end_part(const Weights<L>& weights, int part, const Groups& group) {
        for (int n = 0; n < N; n++) {
            for (int c = 0; c < 4; c++) {
                auto x = group(n, c % 2);
                for (int tile = 0; tile < 2; tile++) {
                    int& high = i[0][n][tile][c];
                    int sum = L::PLANES == 1 ? high : 128 * high + i[L::PLANES - 1][n][tile][c];
                    float& to = f[n][tile][c];
                    to = weights.scales.add(2 * tile + c / 2, part, x, sum, to);
                    high = 0;
                    i[L::PLANES - 1][n][tile][c] = 0;
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

// Result of a sum of chains: `v` is row `row` of `panel` for one token; all lanes of the warp have the rows in order.
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
__device__ inline unsigned padded_tokens(unsigned tokens) {
    return tokens <= DECODE_ROWS ? DECODE_ROWS : (tokens + ROW_TILE - 1) / ROW_TILE * ROW_TILE;
}

template <class L>
__device__ inline unsigned* prepared_planes(const Step& s) {
    return reinterpret_cast<unsigned*>(s.scratch(L::Prepared::OFFSET));
}

// Behind the planes: [unit][tokens].
template <class L>
__device__ inline GroupOf<L>* prepared_groups(const Step& s, unsigned tokens) {
    return reinterpret_cast<GroupOf<L>*>(prepared_planes<L>(s) + size_t(L::STEPS) * L::PLANES * tokens * 8);
}

// A block prepares one token's inputs.
template <class L>
__device__ inline void prepare(const Step& s, const Block& at) {
    unsigned token = at.x, tokens = padded_tokens(tokens_of<L>(s));
    float* sums = reinterpret_cast<float*>(shared_memory());
    Source source = open_row<L>(row_of<typename L::Input>(s, input_row<L>(s, token)), gain_of<L>(s), sums);
    if constexpr (L::Decoder::FORM == EXACT) {
        float* out = reinterpret_cast<float*>(s.scratch(L::Prepared::OFFSET)) + size_t(token) * L::COLS;
        for (int c = threadIdx.x; c < L::COLS; c += THREADS) out[c] = source.at(c);
    } else if constexpr (L::Decoder::FORM == FLOATS) {
        prepare_floats<L>(source, prepared_planes<L>(s) + token * 8, tokens, 0, L::STEPS);
    } else {
        GroupOf<L>* groups = prepared_groups<L>(s, tokens) + token;
        prepare_ints<L>(source, prepared_planes<L>(s) + token * 8, groups, tokens, 0, L::UNITS);
    }
}
