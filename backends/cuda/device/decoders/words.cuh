// Code that decoders share: the form of inputs, and how the words of a step become fragments. A decoder is a struct; a
// linear and an embedding name theirs `Decoder`.

// Inputs that weights are multiplied with: floats on the plain cores; floats, or integers with scales, on tensor cores.
enum Form { EXACT, FLOATS, INTS };

// Offsets in a panel: of the block of a unit, and of the unit behind the block's head.
template <class L>
__device__ constexpr unsigned block_offset(int unit) {
    return unit / L::BLOCK_UNITS * L::BLOCK_BYTES;
}

template <class L>
__device__ constexpr unsigned unit_offset(int unit) {
    return block_offset<L>(unit) + L::HEAD_BYTES + unit % L::BLOCK_UNITS * L::UNIT_BYTES;
}

// A lane's share of a step: `LOADS` times 16 bytes, each the words of four rows for inputs side by side.
template <int COUNT>
struct Loads {
    static constexpr int LOADS = COUNT;

    // Offset in a step of the line of 128 bytes of which lane (g, t) reads the g-th 16.
    __device__ static size_t line(int load, int t) { return size_t(128) * t + 512 * load; }

    // Whether the last step may have words that are not of the panel; `inside` says which are.
    template <class L>
    static constexpr bool CUT = false;

    // Where word `word` of a step of 8 stands in prepared inputs: lane t reads words t and t + 4.
    __device__ static int word_place(int word) { return 2 * (word % 4) + word / 4; }

    // The two words of each row that a lane has of a step.
    __device__ static void words(const uint4 (&loads)[COUNT], int, int, uint4& first, uint4& second) {
        first = loads[0];
        second = loads[1];
    }
};

// Integers of four bits: a load has two words of each row.
struct Nibbles {
    static constexpr int LOADS = 1;

    __device__ static size_t line(int, int t) { return size_t(128) * t; }

    template <class L>
    static constexpr bool CUT = false;

    // Lane t reads two neighbouring words, 2t and 2t + 1.
    __device__ static int word_place(int word) { return word; }

    __device__ static void words(const uint4 (&loads)[1], int, int, uint4& first, uint4& second) {
        const unsigned low = 0x0f0f0f0f;
        uint4 w = loads[0];
        second = make_uint4(w.x >> 4 & low, w.y >> 4 & low, w.z >> 4 & low, w.w >> 4 & low);
        first = make_uint4(w.x & low, w.y & low, w.z & low, w.w & low);
    }
};

// Integers whose groups of 32 inputs are divided into parts with scales of their own: of 32, or of 16.
template <int COUNT>
struct Summed {
    static constexpr Form FORM = INTS;
    static constexpr int AHEAD = 4, PARTS = COUNT, SUMS = 2;

    // Prepared group of inputs, with the sums of either 16.
    struct Group {
        float scale;
        int sums[2];
    };

    __device__ static Group group(float scale, int first, int second) { return {scale, {first, second}}; }

    // One of four neighbouring numbers of 16 bits.
    __device__ static unsigned short half_word(uint2 four, int i) {
        return static_cast<unsigned short>((i < 2 ? four.x : four.y) >> (16 * (i % 2)));
    }
};
