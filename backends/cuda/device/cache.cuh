// A sequence's KV cache in one layer, for one kv head. Words are pairs of elements:
//
// - keys, [kv head][position][head_dim / 16 steps][8 words], words in the order in which lanes want them;
// - values, [kv head][position / 2][dimension], a pair being that dimension at two positions;
// - of int8 only: f32 scales of keys, [kv head][position], then of values.
//
// Dimensions are padded to DIMS, a multiple of 32, with the zeros of a fresh cache.

template <int KV>
struct Cache {
    static constexpr int BYTES = KV == KV_F32 ? 4 : KV == KV_BF16 ? 2 : 1;
    unsigned char *keys, *values;
    float *key_scales, *value_scales;

    __device__ Cache(const Step& s, unsigned char* kv, int head) {
        constexpr size_t SCALES = KV == KV_INT8 ? 2 * KV_HEADS * sizeof(float) : 0;
        size_t capacity = s.kv_capacity;
        unsigned char* base = in_global(kv) + s.layer * capacity * (2 * KV_HEADS * DIMS * BYTES + SCALES);
        keys = base + capacity * head * DIMS * BYTES;
        values = base + capacity * (KV_HEADS + head) * DIMS * BYTES;
        key_scales = reinterpret_cast<float*>(base + capacity * 2 * KV_HEADS * DIMS * BYTES) + capacity * head;
        value_scales = key_scales + capacity * KV_HEADS;
    }

    __device__ static void put(unsigned char* to, size_t element, float v, float inverse) {
        if constexpr (KV == KV_F32) {
            reinterpret_cast<float*>(to)[element] = v;
        } else if constexpr (KV == KV_BF16) {
            reinterpret_cast<unsigned short*>(to)[element] = static_cast<unsigned short>(pack_bf16(v, v));
        } else {
            to[element] = static_cast<unsigned char>(__float2int_rn(v * inverse));
        }
    }

    __device__ static float inverse_scale(float largest) { return largest > 0 ? 127.0f / largest : 0.0f; }

    __device__ void put_key(unsigned position, int dim, float v, float largest) const {
        int word = dim / 2 % 8, place = dim / 16 * 8 + 2 * (word % 4) + word / 4;
        put(keys, size_t(position) * DIMS + 2 * place + dim % 2, v, inverse_scale(largest));
    }

    __device__ void put_value(unsigned position, int dim, float v, float largest) const {
        put(values, (size_t(position / 2) * DIMS + dim) * 2 + position % 2, v, inverse_scale(largest));
    }

    // Loads COUNT neighbouring words as planes of bf16: one, or two whose sum is f32's first 16 bits. Alignment: their size, up to
    // 16 bytes. GAP: stride of the second 16 bytes, if there are any.
    static constexpr int PLANES = KV == KV_F32 ? 2 : 1;

    template <int COUNT, int GAP = 16>
    __device__ static void load(const unsigned char* from, unsigned (&planes)[PLANES][COUNT]) {
        unsigned raw[COUNT * BYTES / 2];
        load_words<GAP>(from, raw);
        for (int i = 0; i < COUNT; i++) {
            if constexpr (KV == KV_F32) {
                float low = __uint_as_float(raw[2 * i]), high = __uint_as_float(raw[2 * i + 1]);
                planes[0][i] = pack_bf16(low, high);
                planes[1][i] = pack_bf16(low - bf16_low(planes[0][i]), high - bf16_high(planes[0][i]));
            } else if constexpr (KV == KV_BF16) {
                planes[0][i] = raw[i];
            } else {
                unsigned pair = raw[i / 2] >> (16 * (i % 2));
                float low = static_cast<signed char>(pair), high = static_cast<signed char>(pair >> 8);
                planes[0][i] = pack_bf16(low, high);
            }
        }
    }

private:
    template <int GAP, int COUNT>
    __device__ static void load_words(const unsigned char* from, unsigned (&words)[COUNT]) {
        if constexpr (COUNT == 1) {
            words[0] = *reinterpret_cast<const unsigned*>(from);
        } else if constexpr (COUNT == 2) {
            uint2 v = *reinterpret_cast<const uint2*>(from);
            words[0] = v.x;
            words[1] = v.y;
        } else {
            for (int i = 0; i < COUNT; i += 4) {
                uint4 v = *reinterpret_cast<const uint4*>(from + i / 4 * GAP);
                words[i] = v.x;
                words[i + 1] = v.y;
                words[i + 2] = v.z;
                words[i + 3] = v.w;
            }
        }
    }
};
