// Linears of f32 weights, on the plain cores: a lane takes a row of a panel, a warp a span of the columns, a block a panel
// and up to 8 tokens.

template <class L>
__device__ inline void linear_exact(const Step& s, const Block& at) {
    constexpr int WARPS = THREADS / 32;
    float* spans = reinterpret_cast<float*>(shared_memory());
    int row = threadIdx.x % 32, warp = threadIdx.x / 32, panel = at.x;
    unsigned first = at.y * EXACT_TOKENS, count = min(tokens_of<L>(s) - first, unsigned(EXACT_TOKENS));
    const float* weights = reinterpret_cast<const float*>(segment<typename L::Weight>(s)) + size_t(panel) * 32 * L::COLS;
    const float* x = reinterpret_cast<const float*>(s.scratch(L::Prepared::OFFSET)) + size_t(first) * L::COLS;
    float sums[EXACT_TOKENS] = {};
    for (int c = L::COLS * warp / WARPS; c < L::COLS * (warp + 1) / WARPS; c++) {
        float w = weights[size_t(c) * 32 + row];
        for (int token = 0; token < EXACT_TOKENS; token++) {
            if (token < count) sums[token] = fmaf(w, x[token * L::COLS + c], sums[token]);
        }
    }
    for (int token = 0; token < EXACT_TOKENS; token++) spans[(warp * EXACT_TOKENS + token) * 32 + row] = sums[token];
    __syncthreads();
    if (warp < count) {
        float v = 0;
        for (int span = 0; span < WARPS; span++) v += spans[(span * EXACT_TOKENS + warp) * 32 + row];
        store_row<L>(s, first + warp, panel, row, v);
    }
}
