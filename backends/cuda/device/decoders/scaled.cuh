// Integers with one scale and one bias per group, whose scales stand before the integers.

template <int BITS_OF_BIAS>
struct Scaled {
    static constexpr Form FORM = INTS;
    static constexpr int BIAS = BITS_OF_BIAS, AHEAD = 4, PARTS = 1, SUMS = 1;

    // Prepared group of inputs: value = scale * (products - correction).
    struct Group {
        float scale;
        int correction;
    };

    __device__ static Group group(float scale, int sum, int) { return {scale, sum * BIAS}; }

    // Scales of a lane's rows 4g to 4g+3.
    template <class L>
    struct Scales {
        uint4 words;

        // Predicated load from global memory.
        __device__ void load(const unsigned char* panel, int unit, int g, bool wanted) {
            const unsigned char* at = panel + unit_offset<L>(unit);
            if constexpr (L::SCALE_BYTES == 128) {
                load_once(words, at + g * 16, wanted);
            } else {
                uint2 v = make_uint2(words.x, words.y);
                load_once(v, at + g * 8, wanted);
                words = make_uint4(v.x, v.y, 0, 0);
            }
        }

        __device__ void load_shared(const unsigned char* at, int g) {
            if constexpr (L::SCALE_BYTES == 128) {
                words = *reinterpret_cast<const uint4*>(at + 16 * g);
            } else {
                uint2 v = *reinterpret_cast<const uint2*>(at + 8 * g);
                words = make_uint4(v.x, v.y, 0, 0);
            }
        }

        __device__ float scale(int row) const {
            unsigned all[4] = {words.x, words.y, words.z, words.w};
            if constexpr (L::SCALE_BYTES == 64) {
                return from_f16(static_cast<unsigned short>(all[row / 2] >> (16 * (row % 2))));
            } else {
                return __uint_as_float(all[row]);
            }
        }

        // `to` plus a group's products of a row.
        __device__ float add(int row, int, const Group& x, int products, float to) const {
            float by = scale(row) * x.scale;
            return fmaf(static_cast<float>(products - x.correction), by, to);
        }
    };

    // The scale of a row of a unit.
    template <class Table>
    __device__ static float scale_of(const unsigned char* unit, int row) {
        if constexpr (Table::SCALE_BYTES == 64) {
            return from_f16(reinterpret_cast<const unsigned short*>(unit)[row]);
        } else {
            return reinterpret_cast<const float*>(unit)[row];
        }
    }
};
