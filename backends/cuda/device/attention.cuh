// Attention over the cache, on the tensor cores, with f32 softmax.
//
// A warp has a tile of 16 queries that share a kv head: the query heads of its group, for as many tokens as fit. The
// positions are cut into parts of PART. A part has its own maximum, sum and weighted values, and parts are joined in
// ascending order: by the warp that computes them one after the other (attention_prefill.cuh), or, where few tokens leave
// the device idle, by the last of several blocks that computed them side by side, a warp each or, where there are few, all
// warps of a block one. All give the same bits.

constexpr int STEPS = DIMS / 16, CHUNKS = DIMS / 32;

// A part's results for queries g and g + 8 of lane (g, t), but for the weighted values: their maximum, their sum, and
// their weights as planes of bf16, [16 positions][plane][as the instruction wants them].
struct Part {
    float most[2], sum[2];
    unsigned weights[PART / 16][QUERY_PLANES][4];
};

// How much of something with maximum `most` counts beside `both`.
__device__ inline float weight_of(float most, float both) { return most == minus_infinity() ? 0.0f : exp2f(most - both); }

// Where a warp's queries are.
struct Queries {
    unsigned first;        // token of the first query
    int tokens, head;      // tokens in the tile, first query head
    unsigned char* kv;     // the sequence that counts; queries of others are computed and dropped
    unsigned position[2];  // last position that each of this lane's two queries sees
    bool mine[2];
};

// The tile's queries in shared memory, [plane][step][lane][4 words]: fragments as the instruction wants them. A lane reads
// what it wrote itself.
constexpr int QUERY_WORDS = QUERY_PLANES * STEPS * 128;

// `row_of_query(token, head)` has a query's dimensions, `token` and `head` counted from the tile's first.
template <class Rows>
__device__ inline void load_queries(const Queries& q, unsigned* to, const Rows& row_of_query) {
    int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    for (int i = 0; i < STEPS * 4; i++) {
        int row = g + i % 2 * 8, dim = i / 4 * 16 + i / 2 % 2 * 8 + 2 * t, token = row / TILE_HEADS;
        int head = row % TILE_HEADS;
        float low = 0, high = 0;
        if (token < q.tokens && (q.head + head) % GROUP + 1 > head && dim < HEAD_DIM) {
            const float* x = row_of_query(token, head) + dim;
            low = x[0];
            high = x[1];
        }
        for (int plane = 0; plane < QUERY_PLANES; plane++) {
            unsigned word = pack_bf16(low, high);
            to[((plane * STEPS + i / 4) * 32 + lane) * 4 + i % 4] = word;
            low -= bf16_low(word);
            high -= bf16_high(word);
        }
    }
}

// The queries of a tile as they lie in memory.
template <class A>
__device__ inline void load_queries(const Step& s, const Queries& q, unsigned* to) {
    load_queries(q, to, [&](int token, int head) {
        return row_of<typename A::Q>(s, q.first + token) + (q.head + head) * HEAD_DIM;
    });
}

// Layout of keys and values in the cache: strides in bytes. Keys: of a position, of a step of 16 dimensions. Values: of a pair
// of positions, of a chunk of 32 dimensions, of 4 dimensions, and of the two halves of 32 bytes that 4 dimensions of f32 take.
template <int TYPE>
struct InCache {
    static constexpr int KV = TYPE, BYTES = Cache<KV>::BYTES;
    static constexpr int POSITION = DIMS * BYTES, STEP = 16 * BYTES;
    static constexpr int PAIR = 2 * DIMS * BYTES, CHUNK = 64 * BYTES, FOUR = 8 * BYTES, GAP = 16;
};

// Adds the products of COUNT steps of 16 dimensions to positions' scores: [tile of 8 positions][as the instruction's].
// `keys` and `queries` point to the first position and step; At is the layout of the keys.
template <class At, int COUNT, int TILES>
__device__ inline void add_scores(const unsigned char* keys, const unsigned* queries, float (&out)[TILES][4]) {
    using Keys = Cache<At::KV>;
    int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    keys += g * At::POSITION + 4 * t * Keys::BYTES;
    // The keys of all steps are under way where there are few.
#pragma unroll TILES == 1 ? COUNT : 2
    for (int step = 0; step < COUNT; step++) {
        unsigned a[QUERY_PLANES][4];
        for (int plane = 0; plane < QUERY_PLANES; plane++) {
            uint4 v = reinterpret_cast<const uint4*>(queries)[(plane * STEPS + step) * 32 + lane];
            a[plane][0] = v.x;
            a[plane][1] = v.y;
            a[plane][2] = v.z;
            a[plane][3] = v.w;
        }
        for (int tile = 0; tile < TILES; tile++) {
            unsigned b[Keys::PLANES][2];
            Keys::load(keys + 8 * tile * At::POSITION + step * At::STEP, b);
            for (int plane = 0; plane < QUERY_PLANES; plane++) {
                for (int k = 0; k < Keys::PLANES && plane + k < 2; k++) mma_bf16(out[tile], a[plane], b[k][0], b[k][1]);
            }
        }
    }
}

// Scales sums of products to scores in units of the logarithm to base 2; `key_scales` points to the first position's.
template <int KV, int TILES>
__device__ inline void scale_scores(const float* key_scales, float (&out)[TILES][4]) {
    int t = threadIdx.x % 4;
    for (int i = 0; i < 4 * TILES; i++) {
        float scale = SCORE_SCALE;
        if constexpr (KV == KV_INT8) scale *= key_scales[i / 4 * 8 + 2 * t + i % 2];
        out[i / 4][i % 4] *= scale;
    }
}

// Scores of positions from `begin` on, from the cache.
template <int KV, int TILES>
__device__ inline void scores(const Cache<KV>& cache, const unsigned* queries, unsigned begin, float (&out)[TILES][4]) {
    for (int i = 0; i < 4 * TILES; i++) out[i / 4][i % 4] = 0;
    add_scores<InCache<KV>, STEPS>(cache.keys + size_t(begin) * InCache<KV>::POSITION, queries, out);
    scale_scores<KV>(cache.key_scales + begin, out);
}

// A part's weights as planes.
template <int KV>
__device__ inline void keep_weights(const float* value_scales, const float (&p)[PART / 8][4], Part& part) {
    int t = threadIdx.x % 4;
    for (int i = 0; i < PART / 4; i++) {
        int tile = i / 2, row = i % 2;
        float low = p[tile][2 * row], high = p[tile][2 * row + 1];
        if constexpr (KV == KV_INT8) {
            low *= value_scales[8 * tile + 2 * t];
            high *= value_scales[8 * tile + 2 * t + 1];
        }
        for (int plane = 0; plane < QUERY_PLANES; plane++) {
            unsigned word = pack_bf16(low, high);
            part.weights[tile / 2][plane][tile % 2 * 2 + row] = word;
            low -= bf16_low(word);
            high -= bf16_high(word);
        }
    }
}

// The weighted values of neighbouring tiles of a chunk: [tile][as the instruction's]. Tile j of a chunk has its dimensions
// 4n + j. `values` points to the part's first pair; At is the layout of the values.
template <class At, int TILES>
__device__ inline void weigh_tiles(
    const unsigned char* values, const Part& part, int chunk, int first_tile, float (&out)[TILES][4]) {
    using Values = Cache<At::KV>;
    int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4 * TILES; i++) out[i / 4][i % 4] = 0;
    values += t * At::PAIR + g * At::FOUR + chunk * At::CHUNK + 2 * first_tile * Values::BYTES;
    for (int step = 0; step < PART / 16; step++) {
        unsigned b[2][Values::PLANES][TILES];
        for (int half = 0; half < 2; half++) {
            Values::template load<TILES, At::GAP>(values + (8 * step + 4 * half) * At::PAIR, b[half]);
        }
        for (int tile = 0; tile < TILES; tile++) {
            for (int plane = 0; plane < QUERY_PLANES; plane++) {
                for (int v = 0; v < Values::PLANES && plane + v < 2; v++) {
                    mma_bf16(out[tile], part.weights[step][plane], b[0][v][tile], b[1][v][tile]);
                }
            }
        }
    }
}

// Positions that a query sees: from `first_seen` to its own.
__device__ inline unsigned first_seen(const Step& s, unsigned position) {
    unsigned window = layer_window(s.layer);
    return window == 0 || position < window ? 0 : position + 1 - window;
}

// Masks positions that a query does not see with minus infinity; `most` has the maxima of the lane's two queries.
template <int TILES>
__device__ inline void mask(const Step& s, const Queries& q, unsigned begin, float (&p)[TILES][4], float (&most)[2]) {
    int t = threadIdx.x % 4;
    unsigned from[2];
    for (int row = 0; row < 2; row++) {
        most[row] = minus_infinity();
        from[row] = first_seen(s, q.position[row]);
    }
    for (int i = 0; i < 4 * TILES; i++) {
        int row = i / 2 % 2;
        unsigned position = begin + i / 4 * 8 + 2 * t + i % 2;
        // Without branches.
        bool seen = q.mine[row] & (position <= q.position[row]) & (position >= from[row]);
        if (!seen) p[i / 4][i % 4] = minus_infinity();
        most[row] = fmaxf(most[row], p[i / 4][i % 4]);
    }
    for (int row = 0; row < 2; row++) {
        for (int other = 1; other < 4; other *= 2) most[row] = fmaxf(most[row], __shfl_xor_sync(~0u, most[row], other));
    }
}

// The sums of a part's weights, and the weights as planes; `value_scales` points to the first position's.
template <int KV>
__device__ inline void keep_part(const float* value_scales, const float (&p)[PART / 8][4], Part& part) {
    for (int row = 0; row < 2; row++) part.sum[row] = 0;
    for (int i = 0; i < PART / 2; i++) part.sum[i / 2 % 2] += p[i / 4][i % 4];
    for (int row = 0; row < 2; row++) {
        for (int other = 1; other < 4; other *= 2) part.sum[row] += __shfl_xor_sync(~0u, part.sum[row], other);
    }
    keep_weights<KV>(value_scales, p, part);
}

// The softmax of a part's scores, its maximum taken out, by a warp.
template <int KV>
__device__ inline void soften(
    const Step& s, const Queries& q, unsigned begin, const float* value_scales, float (&p)[PART / 8][4], Part& part) {
    mask(s, q, begin, p, part.most);
    for (int i = 0; i < PART / 2; i++) p[i / 4][i % 4] = weight_of(p[i / 4][i % 4], part.most[i / 2 % 2]);
    keep_part<KV>(value_scales, p, part);
}

// The softmax of a part from the cache, by a warp.
template <int KV>
__device__ inline void soften(
    const Step& s, const Cache<KV>& cache, const Queries& q, const unsigned* queries, unsigned begin, Part& part) {
    float p[PART / 8][4];
    scores<KV>(cache, queries, begin, p);
    soften<KV>(s, q, begin, cache.value_scales + begin, p, part);
}

// Shared memory of a part that all eight warps of a block compute, a tile of positions each.
struct PartTogether {
    // Maxima, [tile][query], and weights, [tile][lane].
    float most[PART / 8][16];
    float4 weights[PART / 8][32];
};
static_assert(sizeof(PartTogether) == PART_TOGETHER_BYTES, "as a launch reserves it");

// The softmax of a part by all warps of the block.
template <int KV>
__device__ inline void soften_together(const Step& s, const Cache<KV>& cache, const Queries& q, const unsigned* queries,
                                       unsigned begin, Part& part, PartTogether& shared) {
    static_assert(PART / 8 == THREADS / 32, "a tile to a warp");
    int lane = threadIdx.x % 32, g = lane / 4, tile = threadIdx.x / 32;
    float mine[1][4], most[2], p[PART / 8][4];
    scores<KV>(cache, queries, begin + 8 * tile, mine);
    mask(s, q, begin + 8 * tile, mine, most);
    if (lane % 4 == 0) {
        shared.most[tile][g] = most[0];
        shared.most[tile][g + 8] = most[1];
    }
    __syncthreads();
    for (int row = 0; row < 2; row++) {
        part.most[row] = shared.most[0][g + 8 * row];
        for (int i = 1; i < PART / 8; i++) part.most[row] = fmaxf(part.most[row], shared.most[i][g + 8 * row]);
    }
    for (int i = 0; i < 4; i++) mine[0][i] = weight_of(mine[0][i], part.most[i / 2]);
    shared.weights[tile][lane] = make_float4(mine[0][0], mine[0][1], mine[0][2], mine[0][3]);
    __syncthreads();
    for (int i = 0; i < PART / 8; i++) {
        float4 v = shared.weights[i][lane];
        p[i][0] = v.x;
        p[i][1] = v.y;
        p[i][2] = v.z;
        p[i][3] = v.w;
    }
    keep_part<KV>(cache.value_scales + begin, p, part);
}

// Two results over earlier and later positions to one: a * earlier + b * later.
__device__ inline float join_weights(float earlier, float later, float& a, float& b) {
    float both = fmaxf(earlier, later);
    a = weight_of(earlier, both);
    b = weight_of(later, both);
    return both;
}

__device__ inline float joined(float earlier, float later, float a, float b) { return fmaf(later, b, earlier * a); }

// The dimension that values[chunk][tile][i] is of.
__device__ inline int dimension(int chunk, int tile, int i) { return 32 * chunk + 4 * (2 * (threadIdx.x % 4) + i % 2) + tile; }

// This warp's queries for the tokens from `first` on that belong to one sequence, none if there are no tokens; returns the
// token after them.
__device__ inline unsigned choose_queries(const Step& s, unsigned first, unsigned end, int kv_head, int head_tile, Queries& q) {
    q.first = first;
    q.kv = s.rows[min(first, s.n_rows - 1)].kv;
    unsigned next = first;
    while (next < end && s.rows[next].kv == q.kv) next++;
    q.tokens = next - first;
    q.head = kv_head * GROUP + head_tile * 16;
    for (int i = 0; i < 2; i++) {
        int row = threadIdx.x % 32 / 4 + 8 * i, token = row / TILE_HEADS;
        q.mine[i] = token < q.tokens && head_tile * 16 + row % TILE_HEADS < GROUP;
        q.position[i] = q.mine[i] ? s.rows[first + token].position : 0;
    }
    return next;
}

// A part's result for one query in scratch: most, sum, two unused, then DIMS values.
constexpr int RECORD = DIMS + 4;

__device__ inline float* record_of(const Step& s, unsigned token, int head, unsigned part) {
    size_t parts = s.kv_capacity / PART;
    unsigned char* records = s.arena + FIXED_BYTES + s.max_rows_padded() * ROWS_BYTES;
    return reinterpret_cast<float*>(records) + ((size_t(token) * HEADS + head) * parts + part) * RECORD;
}

// Writes a part's maximum and sum to its records; `to` points to the records of the lane's two queries.
__device__ inline void open_records(
    const Step& s, const Queries& q, unsigned number, const Part& part, bool writes, float* (&to)[2]) {
    for (int row = 0; row < 2; row++) {
        to[row] = record_of(s, q.first, q.head + threadIdx.x % 32 / 4 + 8 * row, number);
        if (!writes || !q.mine[row] || threadIdx.x % 4 != 0) continue;
        to[row][0] = part.most[row];
        to[row][1] = part.sum[row];
    }
}

// One part alone, to scratch, by a warp.
template <int KV>
__device__ inline void attend_part(const Step& s, const Queries& q, int kv_head, const unsigned* queries, unsigned number) {
    Cache<KV> cache(s, q.kv, kv_head);
    Part part;
    soften<KV>(s, cache, q, queries, number * PART, part);
    float* to[2];
    open_records(s, q, number, part, true, to);
#pragma unroll 2
    for (int chunk = 0; chunk < CHUNKS; chunk++) {
        float values[4][4];
        weigh_tiles<InCache<KV>>(cache.values + size_t(number * PART / 2) * InCache<KV>::PAIR, part, chunk, 0, values);
        for (int i = 0; i < 16; i++) {
            int row = i / 2 % 2;
            if (q.mine[row]) to[row][4 + dimension(chunk, i / 4, i % 4)] = values[i / 4][i % 4];
        }
    }
}

// One part to scratch by all warps of the block: after the softmax a warp takes halves of chunks.
template <int KV>
__device__ inline void attend_part_together(
    const Step& s, const Queries& q, int kv_head, const unsigned* queries, unsigned number, PartTogether& shared) {
    Cache<KV> cache(s, q.kv, kv_head);
    Part part;
    soften_together<KV>(s, cache, q, queries, number * PART, part, shared);
    float* to[2];
    open_records(s, q, number, part, threadIdx.x < 32, to);
    for (int half = threadIdx.x / 32; half < 2 * CHUNKS; half += THREADS / 32) {
        float values[2][4];
        const unsigned char* from = cache.values + size_t(number * PART / 2) * InCache<KV>::PAIR;
        weigh_tiles<InCache<KV>>(from, part, half / 2, half % 2 * 2, values);
        for (int i = 0; i < 8; i++) {
            int row = i / 2 % 2;
            if (q.mine[row]) to[row][4 + dimension(half / 2, half % 2 * 2 + i / 4, i % 4)] = values[i / 4][i % 4];
        }
    }
}

// How a head's parts are joined: part by part, value = fmaf(part's, later, value * earlier).
struct Factors {
    float earlier, later, sum;
};

// The factors of the parts from `begin` on, by a warp: a lane takes a part. `before` is the maximum of the parts before, and
// becomes that of all: maxima are exact in any order.
__device__ inline void join_factors(const float* records, unsigned count, float& before, Factors* to) {
    unsigned lane = threadIdx.x % 32;
    float most = minus_infinity(), sum = 0;
    if (lane < count) {
        most = load_fresh(records + lane * RECORD);
        sum = load_fresh(records + lane * RECORD + 1);
    }
    float both = fmaxf(before, most);
    for (unsigned by = 1; by < 32; by *= 2) {
        float other = __shfl_up_sync(~0u, both, by);
        if (lane >= by) both = fmaxf(both, other);
    }
    float earlier = __shfl_up_sync(~0u, both, 1);
    if (lane == 0) earlier = before;
    before = __shfl_sync(~0u, both, 31);
    if (lane < JOINED) to[lane] = {weight_of(earlier, both), weight_of(most, both), sum};
}

// The block joins the parts of its kv head's queries. `shared` has room for the factors of JOINED_HEADS heads.
template <class A>
__device__ inline void join_parts(
    const Step& s, unsigned token, int first_head, int heads, unsigned first, unsigned last, Factors* shared) {
    constexpr int WARPS = THREADS / 32;
    int warp = threadIdx.x / 32;
    for (int base = 0; base < heads * HEAD_DIM; base += THREADS) {
        int i = base + threadIdx.x, low = base / HEAD_DIM;
        int high = min(base + THREADS - 1, heads * HEAD_DIM - 1) / HEAD_DIM;
        bool mine = i < heads * HEAD_DIM;
        int head = mine ? i / HEAD_DIM : low;
        const float* records = record_of(s, token, first_head + head, 0);
        float most[(JOINED_HEADS + WARPS - 1) / WARPS], sum = 0, value = 0;
        for (float& m : most) m = minus_infinity();
        for (unsigned begin = first; begin <= last; begin += JOINED) {
            unsigned count = min(last + 1 - begin, unsigned(JOINED));
            // All under way before the first is used.
            float values[JOINED];
#pragma unroll
            for (unsigned j = 0; j < JOINED; j++) {
                if (mine && j < count) values[j] = load_fresh(records + (begin + j) * RECORD + 4 + i % HEAD_DIM);
            }
#pragma unroll
            for (int k = 0; k < (JOINED_HEADS + WARPS - 1) / WARPS; k++) {
                int h = low + warp + k * WARPS;
                if (h > high) break;
                join_factors(record_of(s, token, first_head + h, begin), count, most[k], shared + (h - low) * JOINED);
            }
            __syncthreads();
            const Factors* factors = shared + (head - low) * JOINED;
#pragma unroll
            for (unsigned j = 0; j < JOINED; j++) {
                if (j >= count) break;
                sum = joined(sum, factors[j].sum, factors[j].earlier, factors[j].later);
                value = joined(value, values[j], factors[j].earlier, factors[j].later);
            }
            __syncthreads();
        }
        if (mine) row_of<typename A::Output>(s, token)[(first_head + head) * HEAD_DIM + i % HEAD_DIM] = value / sum;
    }
}

// Parts of one token that blocks take together rather than a warp each.
constexpr unsigned TOGETHER = 2 * ATTENTION_BLOCKS;

template <int KV>
__device__ inline void attend_parts(const Step& s, const Queries& q, int kv_head, const unsigned* queries, unsigned first,
                                    unsigned last, const Block& at, unsigned blocks, PartTogether& shared) {
    if (last - first < TOGETHER) {
        for (unsigned part = first + at.z; part <= last; part += blocks) {
            attend_part_together<KV>(s, q, kv_head, queries, part, shared);
        }
    } else {
        for (unsigned part = first + at.z + threadIdx.x / 32 * blocks; part <= last; part += blocks * (THREADS / 32)) {
            attend_part<KV>(s, q, kv_head, queries, part);
        }
    }
}

// Blocks: [kv heads * head tiles][tokens][ATTENTION_BLOCKS], which take a token's parts in turn. `load(q, queries, last)`
// loads the tile's queries, where `last` says that the block has the token's own position; it ends with a barrier.
template <class A, class Load>
__device__ inline void attend_token(const Step& s, const Block& at, const Load& load) {
    int kv_head = at.x / HEAD_TILES, head_tile = at.x % HEAD_TILES;
    unsigned token = at.y, position = s.rows[token].position;
    unsigned first = first_seen(s, position) / PART, last = position / PART;
    unsigned blocks = min(last - first + 1, unsigned(ATTENTION_BLOCKS));
    if (at.z >= blocks) return;
    int* flag = reinterpret_cast<int*>(shared_memory());
    unsigned* queries = reinterpret_cast<unsigned*>(flag + 32);
    PartTogether& together = *reinterpret_cast<PartTogether*>(queries + QUERY_WORDS);
    Queries q;
    choose_queries(s, token, token + 1, kv_head, head_tile, q);
    load(q, queries, (last - first) % blocks == at.z);
    switch (s.kv_type) {
        case KV_F32: attend_parts<KV_F32>(s, q, kv_head, queries, first, last, at, blocks, together); break;
        case KV_BF16: attend_parts<KV_BF16>(s, q, kv_head, queries, first, last, at, blocks, together); break;
        default: attend_parts<KV_INT8>(s, q, kv_head, queries, first, last, at, blocks, together);
    }
    if (is_last_block(s.counters + A::COUNTERS + token * at.columns + at.x, blocks, flag)) {
        int heads = min(16, GROUP - head_tile * 16);
        Factors* factors = reinterpret_cast<Factors*>(queries);
        join_parts<A>(s, token, kv_head * GROUP + head_tile * 16, heads, first, last, factors);
    }
}

// Attention of few tokens, whose queries, keys and values are prepared.
template <class A>
__device__ inline void attention_decode(const Step& s, const Block& at) {
    attend_token<A>(s, at, [&](const Queries& q, unsigned* queries, bool) {
        if (threadIdx.x < 32) load_queries<A>(s, q, queries);
        __syncthreads();
    });
}

// Attention of one token, fused with the preparation of q, k and v: each block prepares its queries, and the block with the
// token's own position the key and value.
template <class A, class P>
__device__ inline void attention_one(const Step& s, const Block& at) {
    attend_token<A>(s, at, [&](const Queries& q, unsigned* queries, bool last) {
        float* rows = reinterpret_cast<float*>(queries + QUERY_WORDS);
        int heads = min(TILE_HEADS, GROUP - q.head % GROUP);
        for (int i = threadIdx.x / 32; i < heads + last; i += THREADS / 32) {
            if (i < heads) {
                Head head = prepared_head<P>(s, q.first, q.head + i);
                head.each([&](int d, float v) { rows[i * HEAD_DIM + d] = v; });
            } else {
                cache_head<P>(s, q.first, at.x / HEAD_TILES);
            }
        }
        __syncthreads();
        if (threadIdx.x < 32) load_queries(q, queries, [&](int, int head) { return rows + head * HEAD_DIM; });
        __syncthreads();
    });
}
