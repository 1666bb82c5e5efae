// Q4_K: a word is eight inputs, the first four in the low halves of its bytes. A block's head is [32] d and [32] dmin as
// f16; a unit begins with [32][2] bytes, scale and minimum.

struct Q4K : Summed<1>, Nibbles {
    // Scales of a lane's rows 4g to 4g+3, and the conversion of their integer sums to f32.
    template <class L>
    struct Scales {
        uint2 d, dmin, pairs;

        __device__ void load(const unsigned char* panel, int unit, int g, bool wanted) {
            const unsigned char* block = panel + block_offset<L>(unit);
            load_once(pairs, panel + unit_offset<L>(unit) + 8 * g, wanted);
            load_once(d, block + 8 * g, wanted);
            load_once(dmin, block + L::HEAD_BYTES / 2 + 8 * g, wanted);
        }

        __device__ void load_shared(const unsigned char* at, int g) {
            pairs = *reinterpret_cast<const uint2*>(at + 8 * g);
            d = *reinterpret_cast<const uint2*>(at + L::SCALE_BYTES + 8 * g);
            dmin = *reinterpret_cast<const uint2*>(at + L::SCALE_BYTES + L::HEAD_BYTES / 2 + 8 * g);
        }

        __device__ float add(int row, int, const Group& x, int products, float to) const {
            unsigned pair = half_word(pairs, row);
            float scale = from_f16(half_word(d, row)) * static_cast<float>(pair & 255);
            float minimum = from_f16(half_word(dmin, row)) * static_cast<float>(pair >> 8);
            to = fmaf(static_cast<float>(products), scale * x.scale, to);
            return fmaf(-minimum, x.scale * static_cast<float>(x.sums[0] + x.sums[1]), to);
        }
    };

    template <class Table>
    __device__ static float element(const unsigned char* panel, int row, int column) {
        const unsigned char* block = panel + block_offset<Table>(column / Table::GROUP);
        const unsigned char* unit = panel + unit_offset<Table>(column / Table::GROUP);
        const unsigned short* halves = reinterpret_cast<const unsigned short*>(block);
        int c = column % Table::GROUP, byte = unit[Table::SCALE_BYTES + 4 * row + c / 8 * 128 + c % 4];
        float scale = from_f16(halves[row]) * unit[2 * row], minimum = from_f16(halves[32 + row]) * unit[2 * row + 1];
        return fmaf(c % 8 < 4 ? byte & 15 : byte >> 4, scale, -minimum);
    }
};
