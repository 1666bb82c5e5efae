// Linears of f32 weights, on the plain cores: a lane takes a row of a panel, a warp a chain of the columns, a block a panel
// and up to 8 tokens.

template <class L>
__device__ inline void linear_exact(const Step& s, const Block& at) {
    float* chains = reinterpret_cast<float*>(shared_memory());
    int row = threadIdx.x % 32, warp = threadIdx.x / 32, panel = at.x;
    unsigned first = at.y * EXACT_TOKENS, count = min(tokens_of<L>(s) - first, unsigned(EXACT_TOKENS));
    const float* x = reinterpret_cast<const float*>(s.scratch(L::Prepared::OFFSET)) + size_t(first) * L::COLS;
    if (warp < L::CHAINS) {
        const float* weights = reinterpret_cast<const float*>(Panels<L>(s, warp / CHAINS_OF_SPAN<L>).at(panel));
        float sums[EXACT_TOKENS] = {};
        // A unit is a column.
        for (int c = chain_begin<L>(warp); c < chain_begin<L>(warp + 1); c++) {
            float w = weights[size_t(c) * 32 + row];
            for (int token = 0; token < EXACT_TOKENS; token++) {
                if (token < count) sums[token] = fmaf(w, x[token * L::COLS + c], sums[token]);
            }
        }
        for (int token = 0; token < EXACT_TOKENS; token++) chains[(warp * EXACT_TOKENS + token) * 32 + row] = sums[token];
    }
    __syncthreads();
    if (warp < count) {
        float v = sum_of_chains<L>([&](int chain) { return chains[(chain * EXACT_TOKENS + warp) * 32 + row]; });
        store_row<L>(s, first + warp, panel, row, v);
    }
}
