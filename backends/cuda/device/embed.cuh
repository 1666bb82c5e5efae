// Token rows of the embedding to the residual stream, and the step's cosines and sines. A block takes a token.

template <class E>
__device__ inline void embed(const Step& s, const Block& at) {
    using Table = typename E::Table;
    Row row = s.rows[at.x];
    const unsigned char* panel = segment<Table>(s) + size_t(row.token / 32) * Table::PANEL_BYTES;
    float* x = row_of<typename E::Output>(s, at.x);
    for (int c = threadIdx.x; c < Table::COLS; c += THREADS) x[c] = Table::Decoder::template element<Table>(panel, row.token % 32, c);
    float* rope = row_of<typename E::Rope>(s, at.x);
    for (int i = threadIdx.x; i < HEAD_DIM / 2; i += THREADS) {
        float angle = static_cast<float>(row.position) * INVERSE_FREQUENCIES[i];
        rope[i] = cosf(angle) * ROPE_FACTOR;
        rope[HEAD_DIM / 2 + i] = sinf(angle) * ROPE_FACTOR;
    }
}
