// f32: a panel is [column][32 rows].

struct F32 {
    static constexpr Form FORM = EXACT;

    template <class Table>
    __device__ static float element(const unsigned char* panel, int row, int column) {
        return reinterpret_cast<const float*>(panel)[column * 32 + row];
    }
};
