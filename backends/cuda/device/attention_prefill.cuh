// Attention for many tokens: the warps of a block take neighbouring tiles of queries, and share the keys and values of a part
// of the positions in shared memory. A copy is under way while the piece before it is used.

// Weighted values of heads of up to 128 dimensions fit registers; those of larger heads stand in shared memory, which half as
// many warps have room for.
constexpr bool FIT_REGISTERS = CHUNKS <= 4;
constexpr int PREFILL_THREADS = 32 * PREFILL_WARPS;
constexpr int BLOCK_TOKENS = PREFILL_WARPS * TILE_TOKENS;

// Size of a tile in shared memory, in words: of the queries of a warp or of its weighted values.
constexpr int TILE_WORDS = 16 * DIMS;
static_assert(QUERY_WORDS <= TILE_WORDS, "two planes at most");

// Chunks of 32 dimensions in a piece, for elements of `bytes` bytes: the largest divisor of CHUNKS whose share of a part fits
// 16 KB.
__device__ constexpr int piece_chunks(int bytes) {
    int chunks = CHUNKS < 8 / bytes ? CHUNKS : 8 / bytes;
    while (CHUNKS % chunks != 0) chunks--;
    return chunks;
}

// Piece of a part: keys or values of 64 positions for some of the dimensions, in shared memory. Layout of keys: [step][position];
// of values: [pair of positions][chunk], f32 with the even 16 bytes of a row before the odd ones. Steps and pairs are padded
// against bank conflicts: none in reads, and in copies those of f32 values alone, two-way. The constants are those of InCache.
template <int TYPE>
struct Piece {
    static constexpr int KV = TYPE, BYTES = Cache<KV>::BYTES;
    static constexpr int SIZE = piece_chunks(BYTES), COUNT = CHUNKS / SIZE;
    static constexpr int POSITION = 16 * BYTES, STEP = (PART + 1) * POSITION;
    static constexpr bool SPLIT = KV == KV_F32;
    static constexpr int PAIR = 64 * BYTES * SIZE + 32, CHUNK = 64 * BYTES / (1 + SPLIT), FOUR = 8 * BYTES / (1 + SPLIT);
    static constexpr int GAP = CHUNK * SIZE;
    // Bytes of int8 scales, of a part's keys and then of its values; they stand at the end of its first piece's buffer.
    static constexpr int SCALES = KV == KV_INT8 ? 2 * PART * int(sizeof(float)) : 0;
    static_assert(SCALES == 0 || COUNT == 1, "scales come with all of the keys");
    static_assert(2 * SIZE * STEP + SCALES <= PIECE_BYTES && PART / 2 * PAIR <= PIECE_BYTES, "fits its buffer");

    __device__ static const float* scales(const unsigned char* piece) {
        return reinterpret_cast<const float*>(piece + PIECE_BYTES - SCALES);
    }

    // Asynchronous copy of ROWS rows of COLUMNS times 16 bytes, with strides of FROM and TO bytes; `place(column)` is the offset
    // of a column in its row of `to`.
    template <int ROWS, int COLUMNS, int FROM, int TO, class Place>
    __device__ static void copy_rows(const unsigned char* from, unsigned char* to, const Place& place) {
        constexpr int AT_ONCE = PREFILL_THREADS / COLUMNS;
        int row = threadIdx.x / COLUMNS, column = threadIdx.x % COLUMNS;
        if (PREFILL_THREADS % COLUMNS != 0 && row >= AT_ONCE) return;
        from += row * FROM + 16 * column;
        to += row * TO + place(column);
#pragma unroll
        for (int i = 0; i < ROWS; i += AT_ONCE) {
            if (ROWS % AT_ONCE == 0 || i + row < ROWS) copy_async16(to + i * TO, from + i * FROM, true);
        }
    }

    // Asynchronous copy of piece `number` of the part at `begin`: pieces 0 to COUNT - 1 are of keys, COUNT more of values.
    __device__ static void copy(const Cache<KV>& cache, unsigned begin, int number, unsigned char* to) {
        using From = InCache<KV>;
        if (number < COUNT) {
            const unsigned char* keys = cache.keys + size_t(begin) * From::POSITION + number * SIZE * 2 * From::STEP;
            copy_rows<PART, 2 * SIZE * BYTES, From::POSITION, POSITION>(
                keys, to, [](int column) { return column / BYTES * STEP + column % BYTES * 16; });
        } else {
            const unsigned char* values = cache.values + size_t(begin / 2) * From::PAIR + (number - COUNT) * SIZE * From::CHUNK;
            copy_rows<PART / 2, 4 * SIZE * BYTES, From::PAIR, PAIR>(
                values, to, [](int column) { return SPLIT ? column % 2 * GAP + column / 2 * 16 : column * 16; });
        }
        if (SCALES > 0 && number == 0 && threadIdx.x < SCALES / 16) {
            int at = threadIdx.x % (PART / 4) * 4;
            const float* from = (threadIdx.x < PART / 4 ? cache.key_scales : cache.value_scales) + begin + at;
            copy_async16(to + PIECE_BYTES - SCALES + 16 * threadIdx.x, from, true);
        }
        copy_async_commit();
    }
};

// Running softmax over the parts so far. Weighted values, [chunk * 16 + accumulator of mma], are in registers or in shared
// memory, there with [lane] behind. Those of registers go through shared memory before they are stored, for a loop cannot index
// registers.
template <bool IN_REGISTERS>
struct Whole {
    float most[2] = {minus_infinity(), minus_infinity()}, sum[2] = {0, 0};
    // Factors of the weighted values so far and of those of the last part, for the two queries of the lane.
    float earlier[2], later[2];
    float own[IN_REGISTERS ? CHUNKS * 16 : 1];
    float* shared;

    __device__ explicit Whole(unsigned* to) : shared(reinterpret_cast<float*>(to) + threadIdx.x % 32) {
        for (int i = 0; i < CHUNKS * 16; i++) value(i) = 0;
    }

    __device__ float& value(int i) {
        if constexpr (IN_REGISTERS) return own[i];
        return shared[32 * i];
    }

    __device__ void join_sums(const Part& part) {
        for (int row = 0; row < 2; row++) {
            most[row] = join_weights(most[row], part.most[row], earlier[row], later[row]);
            sum[row] = joined(sum[row], part.sum[row], earlier[row], later[row]);
        }
    }

    // Adds COUNT chunks of the last part's weighted values; At is the layout of `from`.
    template <class At, int COUNT>
    __device__ void join_values(const unsigned char* from, const Part& part, int first_chunk) {
#pragma unroll IN_REGISTERS ? COUNT : 2
        for (int chunk = 0; chunk < COUNT; chunk++) {
            float last[4][4];
            weigh_tiles<At>(from, part, chunk, 0, last);
#pragma unroll
            for (int i = 0; i < 16; i++) {
                float& v = value((first_chunk + chunk) * 16 + i);
                v = joined(v, last[i / 4][i % 4], earlier[i / 2 % 2], later[i / 2 % 2]);
            }
        }
    }

    template <class A>
    __device__ void store(const Step& s, const Queries& q) {
        if constexpr (IN_REGISTERS) {
            for (int i = 0; i < CHUNKS * 16; i++) shared[32 * i] = own[i];
        }
#pragma unroll 4
        for (int i = 0; i < CHUNKS * 16; i++) {
            int row = i / 2 % 2, at = threadIdx.x % 32 / 4 + 8 * row, dim = dimension(i / 16, i / 4 % 4, i % 4);
            if (!q.mine[row] || dim >= HEAD_DIM) continue;
            float* out = row_of<typename A::Output>(s, q.first + at / TILE_HEADS) + (q.head + at % TILE_HEADS) * HEAD_DIM;
            out[dim] = shared[32 * i] / sum[row];
        }
    }
};

// Range of positions that tokens see: the start of its first part, and its last position.
struct Seen {
    unsigned begin, last;

    __device__ bool has(unsigned part) const { return begin <= part && part <= last; }
};

__device__ inline Seen seen_by(const Step& s, unsigned first, unsigned end) {
    if (first >= end) return {1, 0};
    return {first_seen(s, s.rows[first].position) / PART * PART, s.rows[end - 1].position};
}

// Attention of a block whose tokens belong to one sequence, with keys and values in shared memory; `seen` is the range of all
// its tokens. A warp skips parts that its own tokens do not see. A part has an even number of pieces, so that buffers are known
// at compile time.
template <class A, int KV>
__device__ inline void attend_shared(const Step& s, const Queries& q, const Seen& seen, int kv_head, const unsigned* queries,
                                     unsigned* values, unsigned char* pieces) {
    using At = Piece<KV>;
    Cache<KV> cache(s, q.kv, kv_head);
    Seen mine = seen_by(s, q.first, q.first + q.tokens);
    Whole<FIT_REGISTERS> all(values);
    Part part;
    float p[PART / 8][4];
    At::copy(cache, seen.begin, 0, pieces);
    for (unsigned begin = seen.begin; begin <= seen.last; begin += PART) {
#pragma unroll
        for (int i = 0; i < 2 * At::COUNT; i++) {
            const unsigned char* piece = pieces + i % 2 * PIECE_BYTES;
            int next = (i + 1) % (2 * At::COUNT);
            unsigned next_begin = next == 0 ? begin + PART : begin;
            copy_async_wait<0>();
            __syncthreads();
            if (next_begin <= seen.last) At::copy(cache, next_begin, next, pieces + (i + 1) % 2 * PIECE_BYTES);
            if (!mine.has(begin)) continue;
            if (i == 0) {
                for (int j = 0; j < PART / 2; j++) p[j / 4][j % 4] = 0;
            }
            if (i < At::COUNT) add_scores<At, 2 * At::SIZE>(piece, queries + i * 2 * At::SIZE * 128, p);
            if (i == At::COUNT - 1) {
                scale_scores<KV>(At::scales(pieces), p);
                soften<KV>(s, q, begin, At::scales(pieces) + PART, p, part);
                all.join_sums(part);
            }
            if (i >= At::COUNT) all.template join_values<At, At::SIZE>(piece, part, (i - At::COUNT) * At::SIZE);
        }
    }
    all.template store<A>(s, q);
}

// Attention of a warp whose tokens belong to one sequence, with keys and values from the cache. Weighted values are in shared
// memory: loads in flight take their registers.
template <class A, int KV>
__device__ inline void attend_alone(const Step& s, const Queries& q, int kv_head, const unsigned* queries, unsigned* values) {
    using At = InCache<KV>;
    Cache<KV> cache(s, q.kv, kv_head);
    Seen seen = seen_by(s, q.first, q.first + q.tokens);
    Whole<false> all(values);
    Part part;
    for (unsigned begin = seen.begin; begin <= seen.last; begin += PART) {
        soften<KV>(s, cache, q, queries, begin, part);
        all.join_sums(part);
        all.template join_values<At, CHUNKS>(cache.values + size_t(begin / 2) * At::PAIR, part, 0);
    }
    all.template store<A>(s, q);
}

// Whether tokens belong to one sequence.
__device__ inline bool one_sequence(const Step& s, unsigned first, unsigned end) {
    bool same = true;
    for (unsigned token = first + threadIdx.x % 32; token < end; token += 32) same &= s.rows[token].kv == s.rows[first].kv;
    return __all_sync(~0u, same);
}

template <class A, int KV>
__device__ inline void attend_block(const Step& s, int kv_head, int head_tile, unsigned first, unsigned end) {
    // Shared memory: four tiles, of queries and, with two warps, of weighted values; then the buffers of two pieces.
    unsigned* tiles = reinterpret_cast<unsigned*>(shared_memory());
    unsigned char* pieces = shared_memory() + 4 * TILE_WORDS * sizeof(unsigned);
    unsigned warp = threadIdx.x / 32, token = first + warp * TILE_TOKENS, tile_end = min(token + TILE_TOKENS, end);
    unsigned* queries = tiles + warp * TILE_WORDS;
    Queries q;
    if (one_sequence(s, first, end)) {
        choose_queries(s, token, tile_end, kv_head, head_tile, q);
        load_queries<A>(s, q, queries);
        unsigned* values = tiles + (4 - PREFILL_WARPS + warp) * TILE_WORDS;
        attend_shared<A, KV>(s, q, seen_by(s, first, end), kv_head, queries, values, pieces);
        return;
    }
    static_assert(PREFILL_WARPS * TILE_WORDS * sizeof(unsigned) <= 2 * PIECE_BYTES, "values of all warps fit the buffers");
    while (token < tile_end) {
        unsigned next = choose_queries(s, token, tile_end, kv_head, head_tile, q);
        load_queries<A>(s, q, queries);
        attend_alone<A, KV>(s, q, kv_head, queries, reinterpret_cast<unsigned*>(pieces) + warp * TILE_WORDS);
        token = next;
    }
}

// Blocks: [kv heads * head tiles][tiles of tokens]. The last tokens, which see the most positions, come first.
template <class A>
__device__ inline void attention_prefill(const Step& s, const Block& at) {
    int kv_head = at.x / HEAD_TILES, head_tile = at.x % HEAD_TILES;
    unsigned first = ((s.n_rows - 1) / BLOCK_TOKENS - at.y) * BLOCK_TOKENS, end = min(first + BLOCK_TOKENS, s.n_rows);
    switch (s.kv_type) {
        case KV_F32: attend_block<A, KV_F32>(s, kv_head, head_tile, first, end); break;
        case KV_BF16: attend_block<A, KV_BF16>(s, kv_head, head_tile, first, end); break;
        default: attend_block<A, KV_INT8>(s, kv_head, head_tile, first, end);
    }
}
