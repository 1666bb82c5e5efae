// Q6_K: a step is two parts of 16 inputs, each with two lines of words of lower halves, as of int4, and a line of upper bits.
// A block's head is [32] d as f16; a unit begins with [32][2] scales, one for each part.

struct Q6K : Summed<2> {
    static constexpr int LOADS = 2, BIAS = 32;

    // Lanes 0 and 1 of four have the first part.
    __device__ static size_t line(int load, int t) { return 128 * (t / 2 * 3 + (load == 0 ? t % 2 : 2)); }

    template <class L>
    static constexpr bool CUT = false;

    // Place of a word in prepared inputs: words keep their order, as with nibbles, of which one load gives two neighbouring words.
    __device__ static int word_place(int word) { return word; }

    // Bits 2n and 2n + 1 of every byte above the four of a lower half.
    __device__ static uint4 joined(uint4 low, uint4 high, int n) {
        const unsigned mask = 0x03030303;
        return make_uint4(low.x | (high.x >> 2 * n & mask) << 4, low.y | (high.y >> 2 * n & mask) << 4,
                          low.z | (high.z >> 2 * n & mask) << 4, low.w | (high.w >> 2 * n & mask) << 4);
    }

    // Zeros in the lanes of the other part.
    __device__ static void words(const uint4 (&loads)[2], int t, int part, uint4& first, uint4& second) {
        const uint4 nibbles[1] = {loads[0]};
        Nibbles::words(nibbles, t, part, first, second);
        first = joined(first, loads[1], t % 2 * 2);
        second = joined(second, loads[1], t % 2 * 2 + 1);
        if (t / 2 != part) first = second = make_uint4(0, 0, 0, 0);
    }

    // Scales of a lane's rows 4g to 4g+3, and the conversion of their integer sums to f32.
    template <class L>
    struct Scales {
        uint2 d, pairs;

        __device__ void load(const unsigned char* panel, int unit, int g, bool wanted) {
            load_once(pairs, panel + unit_offset<L>(unit) + 8 * g, wanted);
            load_once(d, panel + block_offset<L>(unit) + 8 * g, wanted);
        }

        __device__ void load_shared(const unsigned char* at, int g) {
            pairs = *reinterpret_cast<const uint2*>(at + 8 * g);
            d = *reinterpret_cast<const uint2*>(at + L::SCALE_BYTES + 8 * g);
        }

        __device__ float add(int row, int part, const Group& x, int products, float to) const {
            signed char byte = static_cast<signed char>(half_word(pairs, row) >> (8 * part));
            float scale = from_f16(half_word(d, row)) * static_cast<float>(byte);
            return fmaf(static_cast<float>(products - BIAS * (part == 0 ? x.sums[0] : x.sums[1])), scale * x.scale, to);
        }
    };

    template <class Table>
    __device__ static float element(const unsigned char* panel, int row, int column) {
        const unsigned char* unit = panel + unit_offset<Table>(column / Table::GROUP);
        const unsigned short* d = reinterpret_cast<const unsigned short*>(panel + block_offset<Table>(column / Table::GROUP));
        int part = column % Table::GROUP / 16, k = column % 16, quad = k / 4;
        const unsigned char* words = unit + Table::SCALE_BYTES + part * 384 + 4 * row + k % 4;
        int low = words[quad / 2 * 128] >> (quad % 2 * 4) & 15, high = words[256] >> (2 * quad) & 3;
        float scale = from_f16(d[row]) * static_cast<signed char>(unit[2 * row + part]);
        return scale * ((low | high << 4) - BIAS);
    }
};
