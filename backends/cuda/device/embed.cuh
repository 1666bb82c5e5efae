// Token rows of the embedding to the residual stream, and the step's cosines and sines. A block takes a token.

// One element of a row that stands in panels.
template <class Table>
__device__ inline float table_element(const unsigned char* panel, int row, int column) {
    if constexpr (Table::TYPE == F32) {
        return reinterpret_cast<const float*>(panel)[column * 32 + row];
    } else if constexpr (Table::TYPE == BF16) {
        return __uint_as_float(reinterpret_cast<const unsigned short*>(panel)[column / 2 * 64 + 2 * row + column % 2] << 16);
    } else {
        const unsigned char* unit = panel + column / Table::GROUP * Table::UNIT_BYTES;
        int c = column % Table::GROUP;
        float scale;
        if constexpr (Table::SCALE_BYTES == 64) {
            scale = from_f16(reinterpret_cast<const unsigned short*>(unit)[row]);
        } else {
            scale = reinterpret_cast<const float*>(unit)[row];
        }
        const unsigned char* bytes = unit + Table::SCALE_BYTES + 4 * row;
        if constexpr (Table::TYPE == INT8) return (bytes[c / 4 * 128 + c % 4] - 128) * scale;
        int byte = bytes[c / 8 * 128 + c % 4];
        return ((c % 8 < 4 ? byte & 15 : byte >> 4) - 8) * scale;
    }
}

template <class E>
__device__ inline void embed(const Step& s, const Block& at) {
    using Table = typename E::Table;
    Row row = s.rows[at.x];
    const unsigned char* panel = segment<Table>(s) + size_t(row.token / 32) * Table::PANEL_BYTES;
    float* x = row_of<typename E::Output>(s, at.x);
    for (int c = threadIdx.x; c < Table::COLS; c += THREADS) x[c] = table_element<Table>(panel, row.token % 32, c);
    float* rope = row_of<typename E::Rope>(s, at.x);
    for (int i = threadIdx.x; i < HEAD_DIM / 2; i += THREADS) {
        float angle = static_cast<float>(row.position) * INVERSE_FREQUENCIES[i];
        rope[i] = cosf(angle) * ROPE_FACTOR;
        rope[HEAD_DIM / 2 + i] = sinf(angle) * ROPE_FACTOR;
    }
}
