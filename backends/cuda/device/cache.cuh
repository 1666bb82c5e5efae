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

    // COUNT neighbouring words as planes of bf16: one, or two whose sum is f32's first 16 bits.
    static constexpr int PLANES = KV == KV_F32 ? 2 : 1;

    template <int COUNT>
    __device__ static void load(const unsigned char* from, size_t word, unsigned (&planes)[PLANES][COUNT]) {
        if constexpr (KV == KV_F32) {
            const float2* pairs = reinterpret_cast<const float2*>(from) + word;
            for (int i = 0; i < COUNT; i++) {
                float2 v = pairs[i];
                planes[0][i] = pack_bf16(v.x, v.y);
                planes[1][i] = pack_bf16(v.x - bf16_low(planes[0][i]), v.y - bf16_high(planes[0][i]));
            }
        } else if constexpr (KV == KV_BF16) {
            const uint2* words = reinterpret_cast<const uint2*>(from + 4 * word);
            for (int i = 0; i < COUNT / 2; i++) {
                planes[0][2 * i] = words[i].x;
                planes[0][2 * i + 1] = words[i].y;
            }
        } else {
            const unsigned* pairs = reinterpret_cast<const unsigned*>(from + 2 * word);
            for (int i = 0; i < COUNT; i++) {
                unsigned pair = pairs[i / 2] >> (16 * (i % 2));
                float low = static_cast<signed char>(pair), high = static_cast<signed char>(pair >> 8);
                planes[0][i] = pack_bf16(low, high);
            }
        }
    }
};
