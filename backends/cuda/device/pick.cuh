// The likeliest allowed token of each output, of equals the lowest; ~0 where there is none or a logit is no number. Two launches: parts of the vocabulary, then those.

struct Candidate {
    float logit;
    unsigned token;

    __device__ bool before(const Candidate& other) const {
        return logit > other.logit || (logit == other.logit && token < other.token);
    }
};

__device__ inline Candidate best_of_lanes(Candidate c) {
    for (int other = 16; other > 0; other /= 2) {
        Candidate o = {__shfl_xor_sync(~0u, c.logit, other), __shfl_xor_sync(~0u, c.token, other)};
        if (o.before(c)) c = o;
    }
    return c;
}

__device__ inline Candidate* candidates_of(const Step& s, unsigned output) {
    return reinterpret_cast<Candidate*>(s.scratch(CANDIDATES_OFFSET)) + size_t(output) * PICK_BLOCKS;
}

// Blocks: [outputs][PICK_BLOCKS].
__device__ inline void pick_parts_of_vocabulary(const Step& s, const Block& at) {
    Candidate* bests = reinterpret_cast<Candidate*>(shared_memory());
    const float* logits = s.logits + static_cast<size_t>(at.x) * LOGITS_STRIDE;
    Candidate best = {minus_infinity(), ~0u};
    for (unsigned token = at.y * THREADS + threadIdx.x; token < VOCAB; token += PICK_BLOCKS * THREADS) {
        Candidate c = {logits[token], token};
        // What is no number, or too large for one, comes before all others, so that it is noticed.
        if (!(c.logit < -minus_infinity())) c = {-minus_infinity(), ~0u};
        bool allowed = !s.allowed || (s.allowed[token / 32] >> (token % 32) & 1);
        if (allowed && c.before(best)) best = c;
    }
    best = best_of_lanes(best);
    if (threadIdx.x % 32 == 0) bests[threadIdx.x / 32] = best;
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (int warp = 1; warp < THREADS / 32; warp++) {
        if (bests[warp].before(best)) best = bests[warp];
    }
    candidates_of(s, at.x)[at.y] = best;
}

// Blocks of one warp: [outputs].
__device__ inline void pick_from_parts(const Step& s, const Block& at) {
    if (threadIdx.x >= 32) return;
    unsigned output = at.x;
    Candidate best = {minus_infinity(), ~0u};
    for (int i = threadIdx.x; i < PICK_BLOCKS; i += 32) {
        Candidate c = candidates_of(s, output)[i];
        if (c.before(best)) best = c;
    }
    best = best_of_lanes(best);
    if (threadIdx.x > 0) return;
    s.picks[output] = best.token;
    if (s.advance) {
        // Where a logit is no number the runtime sees it by the pick; the next step needs some token.
        s.rows[output].token = best.token < VOCAB ? static_cast<int>(best.token) : 0;
        s.rows[output].position += 1;
    }
}
