// Rows of activations: where they lie, their norm, and the forms in which linears read them.
//
// A linear of bf16 or integers reads its inputs in steps of 8 words: 2 bf16 or 4 bytes to a word. The prepared form
// is [step][plane][token][8 words], tokens padded, words in the order in which a lane of an mma wants them.

__device__ inline float sum_of_lanes(float v) {
    for (int other = 16; other > 0; other /= 2) v += __shfl_xor_sync(~0u, v, other);
    return v;
}

__device__ inline float max_of_lanes(float v) {
    for (int other = 16; other > 0; other /= 2) v = fmaxf(v, __shfl_xor_sync(~0u, v, other));
    return v;
}

// The sum over all threads of the block, the same in each; `sums` has a float per warp. Ends with the sums in use:
// a barrier must come before they are written again.
__device__ inline float sum_of_block(float v, float* sums) {
    v = sum_of_lanes(v);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = v;
    __syncthreads();
    v = 0;
    for (int warp = 0; warp < THREADS / 32; warp++) v += sums[warp];
    return v;
}

// A row as a linear sees it: normalised, with gain.
struct Source {
    const float* x;
    const float* gain;
    float scale;

    __device__ float at(int column) const {
        float v = x[column] * scale;
        return gain ? v * gain[column] : v;
    }

    // Two neighbours from an even column on; 0 from column `end` on, up to which both are read at once if `WHOLE`.
    template <bool WHOLE>
    __device__ float2 two(int column, int end) const {
        if constexpr (WHOLE) {
            if (column >= end) return {0, 0};
            float2 v = *reinterpret_cast<const float2*>(x + column);
            v = {v.x * scale, v.y * scale};
            if (!gain) return v;
            float2 g = *reinterpret_cast<const float2*>(gain + column);
            return {v.x * g.x, v.y * g.y};
        } else {
            return {column < end ? at(column) : 0, column + 1 < end ? at(column + 1) : 0};
        }
    }

    // Four neighbours from a multiple of 4 on; 0 from column `end` on, up to which all four are read at once if `WHOLE`.
    template <bool WHOLE>
    __device__ float4 four(int column, int end) const {
        if constexpr (WHOLE) {
            if (column >= end) return make_float4(0, 0, 0, 0);
            float4 v = *reinterpret_cast<const float4*>(x + column);
            v = make_float4(v.x * scale, v.y * scale, v.z * scale, v.w * scale);
            if (!gain) return v;
            float4 g = *reinterpret_cast<const float4*>(gain + column);
            return make_float4(v.x * g.x, v.y * g.y, v.z * g.z, v.w * g.w);
        } else {
            return make_float4(column < end ? at(column) : 0, column + 1 < end ? at(column + 1) : 0,
                               column + 2 < end ? at(column + 2) : 0, column + 3 < end ? at(column + 3) : 0);
        }
    }
};

// RMSNorm gain, in global memory; null where there is none.
template <class L>
__device__ inline const float* gain_of(const Step& s) {
    if constexpr (L::HAS_GAIN) {
        return reinterpret_cast<const float*>(segment<typename L::Gain>(s));
    } else {
        return nullptr;
    }
}

// Asynchronous copy of the gain of columns `begin` to `end` to shared memory; `begin` is a multiple of 4.
template <class L>
__device__ inline void copy_gain(const Step& s, int begin, int end, float* to) {
    if constexpr (L::HAS_GAIN) {
        const float* from = gain_of<L>(s);
        for (int c = begin + 4 * thread_again(); c < end; c += 4 * THREADS) copy_async16(to + c - begin, from + c, true);
        copy_async_commit();
    }
}

// Opens a row for reading by the whole block: RMSNorm's 1 / sqrt(mean(x^2) + eps), or 1 where there is no norm. Waits
// for the copy of the gain, if it is in shared memory.
template <class L>
__device__ inline Source open_row(const float* x, const float* gain, float* sums) {
    Source source = {x, gain, 1.0f};
    if constexpr (L::NORM) {
        float sum = 0;
        for (int c = thread_again(); c < L::COLS; c += THREADS) sum = fmaf(x[c], x[c], sum);
        if constexpr (L::HAS_GAIN) copy_async_wait<0>();
        source.scale = rsqrtf(sum_of_block(sum, sums) / L::COLS + L::EPS);
    }
    return source;
}

// Inputs as one or two planes of bf16, whose sum is the input rounded to 8 or 16 bits.
// `planes` is [step][plane][tokens][8], at the first step wanted.
template <class L>
__device__ inline void prepare_floats(const Source& source, unsigned* planes, int tokens, int first, int last) {
    for (int i = 8 * first + thread_again(); i < 8 * last; i += THREADS) {
        int step = i / 8 - first, place = L::Decoder::word_place(i % 8);
        float2 v = source.two<L::COLS % 2 == 0>(2 * i, L::COLS);
        for (int plane = 0; plane < L::PLANES; plane++) {
            unsigned word = pack_bf16(v.x, v.y);
            planes[(step * L::PLANES + plane) * tokens * 8 + place] = word;
            v.x -= bf16_low(word);
            v.y -= bf16_high(word);
        }
    }
}

// Steps of a unit, that is of a group of integers or of one step of floats.
template <class L>
__device__ constexpr int steps_of(int unit) {
    int left = L::COLS - unit * L::GROUP;
    return (min(left, L::GROUP) + L::STEP_COLS - 1) / L::STEP_COLS;
}

// A token's group: a scale, and what the decoder's `add` takes of the sum of its integers. Floats have none.
template <class D, bool INTEGER>
struct GroupFor {
    using Type = float;
};

template <class D>
struct GroupFor<D, true> {
    using Type = typename D::Group;
};

template <class L>
using GroupOf = typename GroupFor<typename L::Decoder, L::Decoder::FORM == INTS>::Type;

// Inputs as one or two planes of bytes with a scale per group: q = 128 * high + low. Eight lanes take a group, a lane a word
// of each of its steps, which it reads once. `planes` and `groups` stand at the first step and group wanted.
template <class L>
__device__ inline void prepare_ints(
    const Source& source, unsigned* planes, GroupOf<L>* groups, int tokens, int first, int last) {
    using Decoder = typename L::Decoder;
    constexpr int WORDS = 8, TOGETHER = 32 / WORDS;
    const float most = L::PLANES == 1 ? 127.0f : 127.0f * 128.0f;
    int thread = thread_again(), lane = thread % 32, word = lane % WORDS;
    for (int base = first + thread / 32 * TOGETHER; base < last; base += THREADS / WORDS) {
        int unit = base + lane / WORDS, begin = unit * L::GROUP, end = unit < last ? min(begin + L::GROUP, L::COLS) : begin;
        float4 v[L::UNIT_STEPS];
        float largest = 0;
#pragma unroll
        for (int k = 0; k < L::UNIT_STEPS; k++) {
            v[k] = source.four<L::COLS % 4 == 0>(begin + 4 * (k * WORDS + word), end);
            largest = fmaxf(largest, fmaxf(fmaxf(fabsf(v[k].x), fabsf(v[k].y)), fmaxf(fabsf(v[k].z), fabsf(v[k].w))));
        }
        for (int other = WORDS / 2; other > 0; other /= 2) largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, other));
        float inverse = largest > 0 ? most / largest : 0;
        int sum = 0;
#pragma unroll
        for (int k = 0; k < L::UNIT_STEPS; k++) {
            const float values[4] = {v[k].x, v[k].y, v[k].z, v[k].w};
            unsigned bytes[2] = {0, 0};
            for (int i = 0; i < 4; i++) {
                int q = __float2int_rn(values[i] * inverse);
                sum += q;
                int high = L::PLANES == 1 ? q : (q + 64) >> 7;
                bytes[0] |= (high & 255) << (8 * i);
                bytes[1] |= ((q - 128 * high) & 255) << (8 * i);
            }
            if (unit >= last || k >= steps_of<L>(unit)) continue;
            int step = (unit - first) * L::UNIT_STEPS + k;
            for (int plane = 0; plane < L::PLANES; plane++) {
                planes[(step * L::PLANES + plane) * tokens * 8 + L::Decoder::word_place(word)] = bytes[plane];
            }
        }
        for (int other = WORDS / 2 / Decoder::SUMS; other > 0; other /= 2) sum += __shfl_xor_sync(~0u, sum, other);
        int second = Decoder::SUMS == 1 ? 0 : __shfl_xor_sync(~0u, sum, WORDS / 2);
        if (word == 0 && unit < last) groups[(unit - first) * tokens] = Decoder::group(largest / most, sum, second);
    }
}
