// q/k norm and RoPE, and the cache write. A warp takes a head of a token: queries first, then kv heads.

// A head after norm and RoPE; lane has dimensions lane + 32 * i of the first half and of the second.
struct Head {
    static constexpr int HALF = HEAD_DIM / 2, COUNT = (HALF + 31) / 32;
    float low[COUNT], high[COUNT];

    __device__ void load(const float* x) {
        int lane = threadIdx.x % 32;
        for (int i = 0; i < COUNT; i++) {
            int d = lane + 32 * i;
            low[i] = d < HALF ? x[d] : 0;
            high[i] = d < HALF ? x[HALF + d] : 0;
        }
    }

    __device__ void normalise(const float* gain, float eps) {
        float sum = 0;
        for (int i = 0; i < COUNT; i++) sum = fmaf(high[i], high[i], fmaf(low[i], low[i], sum));
        float scale = rsqrtf(sum_of_lanes(sum) / HEAD_DIM + eps);
        int lane = threadIdx.x % 32;
        for (int i = 0; i < COUNT; i++) {
            int d = lane + 32 * i;
            if (d >= HALF) continue;
            low[i] = low[i] * scale * gain[d];
            high[i] = high[i] * scale * gain[HALF + d];
        }
    }

    __device__ void rotate(const float* angles) {
        int lane = threadIdx.x % 32;
        for (int i = 0; i < COUNT; i++) {
            int d = lane + 32 * i;
            if (d >= HALF) continue;
            float re = low[i], im = high[i], cosine = angles[d], sine = angles[HALF + d];
            low[i] = fmaf(re, cosine, -(im * sine));
            high[i] = fmaf(im, cosine, re * sine);
        }
    }

    __device__ float largest() const {
        float most = 0;
        for (int i = 0; i < COUNT; i++) most = fmaxf(most, fmaxf(fabsf(low[i]), fabsf(high[i])));
        return max_of_lanes(most);
    }

    // `put(dimension, value)` for all.
    template <class Put>
    __device__ void each(const Put& put) const {
        int lane = threadIdx.x % 32;
        for (int i = 0; i < COUNT; i++) {
            int d = lane + 32 * i;
            if (d >= HALF) continue;
            put(d, low[i]);
            put(HALF + d, high[i]);
        }
    }
};

template <int KV>
__device__ inline void write_cache(const Step& s, const Row& row, int head, const Head& key, const Head& value) {
    Cache<KV> cache(s, row.kv, head);
    float key_most = key.largest(), value_most = value.largest();
    key.each([&](int d, float v) { cache.put_key(row.position, d, v, key_most); });
    value.each([&](int d, float v) { cache.put_value(row.position, d, v, value_most); });
    if (KV == KV_INT8 && threadIdx.x % 32 == 0) {
        cache.key_scales[row.position] = key_most / 127.0f;
        cache.value_scales[row.position] = value_most / 127.0f;
    }
}

// A head of a token after norm and RoPE: queries first, then keys.
template <class P>
__device__ inline Head prepared_head(const Step& s, unsigned token, int head) {
    Head h;
    h.load(row_of<typename P::Qkv>(s, token) + head * HEAD_DIM);
    if constexpr (P::NORM) {
        const unsigned char* gain = head < HEADS ? segment<typename P::QGain>(s) : segment<typename P::KGain>(s);
        h.normalise(reinterpret_cast<const float*>(gain), P::EPS);
    }
    h.rotate(row_of<typename P::Rope>(s, token));
    return h;
}

// A kv head's key and value of a token to the cache.
template <class P>
__device__ inline void cache_head(const Step& s, unsigned token, int kv_head) {
    Head key = prepared_head<P>(s, token, HEADS + kv_head), value;
    value.load(row_of<typename P::Qkv>(s, token) + (HEADS + KV_HEADS + kv_head) * HEAD_DIM);
    Row row = s.rows[token];
    switch (s.kv_type) {
        case KV_F32: write_cache<KV_F32>(s, row, kv_head, key, value); break;
        case KV_BF16: write_cache<KV_BF16>(s, row, kv_head, key, value); break;
        default: write_cache<KV_INT8>(s, row, kv_head, key, value);
    }
}

template <class P>
__device__ inline void prepare_qkv(const Step& s, const Block& at) {
    int head = at.y * (THREADS / 32) + threadIdx.x / 32;
    unsigned token = at.x;
    if (head < HEADS) {
        float* x = row_of<typename P::Qkv>(s, token) + head * HEAD_DIM;
        prepared_head<P>(s, token, head).each([&](int d, float v) { x[d] = v; });
    } else if (head < HEADS + KV_HEADS) {
        cache_head<P>(s, token, head - HEADS);
    }
}
