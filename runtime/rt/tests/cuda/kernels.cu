// A model for the tests of the CUDA runtime: what tests/mock computes on threads, as kernels.
//
// In: steps. Out: logits that depend on every token of the sequence, on the table of weights and on the type of the
// cache; picks. Invariant: bit for bit what the mock's step gives.
#ifndef __CUDACC__
#include "cuda_on_host.hpp"
#endif

typedef unsigned long long Word;

struct Row {
    int token;
    unsigned position;
    unsigned char *kv;
    unsigned adapter, reserved;
};

struct Step {
    const unsigned *weights;
    Word *arena;
    Row *rows;
    const unsigned *outputs;
    float *logits;
    unsigned *picks;
    const unsigned *allowed;
    unsigned *counters;
    Word kv_capacity;
    unsigned n_rows, n_outputs, max_rows, layer, kv_type, advance;
};

const unsigned vocabulary = 2048, known = 2046, layers = 2;

__device__ inline Word mix(Word a, Word b) {
    Word x = (a ^ (b * 0x9e3779b97f4a7c15ull)) * 0xbf58476d1ce4e5b9ull;
    return x ^ (x >> 29);
}

__device__ inline Word *stored(const Row &row, unsigned position, unsigned kv_type) {
    const unsigned bytes[3] = {64, 32, 24};
    return (Word *)(row.kv + (Word)position * bytes[kv_type]);
}

// One block for each row. The first word of the arena counts layers.
extern "C" __global__ void begin(const Step step) {
    if (threadIdx.x != 0) return;
    const Row row = step.rows[blockIdx.x];
    *stored(row, row.position, step.kv_type) = (Word)row.token + 1;
    if (blockIdx.x == 0) step.arena[0] = 0;
}

// Two launches in a layer: the first one's grid is empty but for steps of more than one row.
extern "C" __global__ void spread(const Step step) {
    if (threadIdx.x == 0 && blockIdx.x == 0) step.arena[1] = step.n_rows;
}

extern "C" __global__ void layer(const Step step) {
    if (threadIdx.x != 0) return;
    const bool in_order = step.arena[0] == step.layer && step.counters[0] == 0;
    step.arena[0] = in_order ? step.layer + 1 : 1000;
    for (unsigned i = 0; i < step.n_rows; i++) {
        const Row row = step.rows[i];
        Word state = 7 + step.kv_type;
        for (unsigned p = 0; p <= row.position; p++) state = mix(state, *stored(row, p, step.kv_type));
        step.arena[2 + i] = state;
    }
}

// The logits and the pick of one output; `next` follows its token.
__device__ inline unsigned answer(const Step &step, unsigned output, unsigned next) {
    const Word state = step.arena[2 + output];
    float *logits = step.logits + (Word)blockIdx.x * vocabulary;
    for (unsigned t = threadIdx.x; t < vocabulary; t += 32) {
        float logit = (float)(mix(state, t) >> 40) / 16777216.0f;
        if (t == next) logit = 12.0f;
        if (t >= known) logit = 100.0f;
        // Weights that say so are damaged; so is a step whose layers come in another order.
        if (next == 0x80000000u && t == 5) logit = nanf("");
        logits[t] = step.arena[0] == layers ? logit : -1.0f;
    }
    __syncthreads();
    unsigned best = 0xffffffffu;
    for (unsigned t = 0; t < vocabulary; t++) {
        if (logits[t] != logits[t]) return 0xffffffffu;
        const bool may = !step.allowed || (step.allowed[t / 32] >> (t % 32) & 1);
        if (may && (best == 0xffffffffu || logits[t] > logits[best])) best = t;
    }
    return best;
}

__device__ inline void finish(const Step &step, unsigned output, unsigned pick, unsigned advance_to) {
    if (threadIdx.x != 0) return;
    step.picks[blockIdx.x] = pick;
    if (!step.advance) return;
    step.rows[output].token = (int)advance_to;
    step.rows[output].position++;
}

// One block for each output.
extern "C" __global__ void head(const Step step) {
    const unsigned output = step.outputs[blockIdx.x], token = step.rows[output].token;
    const unsigned pick = answer(step, output, step.weights[token]);
    __syncthreads();
    finish(step, output, pick, pick);
}

// Breaks its promise: the row moves on to another token than the pick.
extern "C" __global__ void odd_head(const Step step) {
    const unsigned output = step.outputs[blockIdx.x], token = step.rows[output].token;
    const unsigned pick = answer(step, output, step.weights[token]);
    __syncthreads();
    finish(step, output, pick, pick ^ 1);
}

// What follows a token stands in three tables far from each other, whose sum it is.
extern "C" __global__ void far_head(const Step step) {
    const unsigned output = step.outputs[blockIdx.x], token = step.rows[output].token, far = 5 << 20;
    const unsigned next = step.weights[token] + step.weights[token + far] + step.weights[token + 2 * far];
    const unsigned pick = answer(step, output, next);
    __syncthreads();
    finish(step, output, pick, pick);
}
