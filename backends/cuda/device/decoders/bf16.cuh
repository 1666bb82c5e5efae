// bf16: a word is the weights of two neighbouring inputs.

struct Bf16 : Loads<2> {
    static constexpr Form FORM = FLOATS;
    static constexpr int AHEAD = 8;

    // Scales of a lane's rows: none.
    template <class L>
    struct Scales {
        __device__ void load(const unsigned char*, int, int, bool) {}
        __device__ void load_shared(const unsigned char*, int) {}
    };

    // Past the last pair of inputs there may be anything, even what is no number.
    template <class L>
    static constexpr bool CUT = L::COLS % 16 != 0;

    template <class L>
    __device__ static bool inside(int step, int load, int t) {
        return 8 * step + 4 * load + t < (L::COLS + 1) / 2;
    }

    template <class Table>
    __device__ static float element(const unsigned char* panel, int row, int column) {
        return __uint_as_float(reinterpret_cast<const unsigned short*>(panel)[column / 2 * 64 + 2 * row + column % 2] << 16);
    }
};
