// Low-rank adapters: what stands between and behind their linears. A block takes a token.

// Columns in blocks of RANK take turns; those that are not of the token's adapter become 0. The row counts adapters
// from 1, so that 0 is none.
template <class A>
__device__ inline void select_adapter(const Step& s, const Block& at) {
    unsigned adapter = s.rows[at.x].adapter;
    float* x = row_of<typename A::Columns>(s, at.x);
    for (unsigned c = threadIdx.x; c < A::COLS; c += THREADS) {
        if (c / A::RANK % A::ADAPTERS + 1 != adapter) x[c] = 0;
    }
}

// SwiGLU of gate and up that are sums, so that no linear joins them itself.
template <class J>
__device__ inline void join_swiglu(const Step& s, const Block& at) {
    const float* x = row_of<typename J::Input>(s, at.x);
    float* y = row_of<typename J::Output>(s, at.x);
    for (unsigned c = threadIdx.x; c < J::COLS; c += THREADS) y[c] = swiglu(x[c], x[J::COLS + c]);
}
