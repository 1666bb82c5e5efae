// Kernels that are right, and the same with one thing wrong.
//
// In: `weights` as words. Out: `logits` as words; `arena` and `counters` are zero at first.
#ifndef __CUDACC__
#include "cuda_on_host.hpp"
#endif

struct CudaStep {
    unsigned long long weights, arena, rows, outputs, logits, picks, allowed, counters, kv_capacity;
    unsigned n_rows, n_outputs, max_rows, layer, kv_type, advance;
};

#define KERNEL(name) extern "C" __global__ void __launch_bounds__(256) name(const CudaStep step)

static __device__ const unsigned *input(const CudaStep &step) { return (const unsigned *)step.weights; }
static __device__ unsigned *output(const CudaStep &step) { return (unsigned *)step.logits; }

// Sums a block's words. Each `wait_*` says whether a barrier stands there.
template <bool wait_between, bool wait_within>
static __device__ __forceinline__ unsigned block_sum(unsigned value) {
    unsigned *sums = (unsigned *)shared_memory();
    sums[threadIdx.x] = value;
    __syncthreads();
    for (unsigned half = blockDim.x / 2; half; half /= 2) {
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
        if (wait_within) __syncthreads();
    }
    if (wait_between) __syncthreads();
    return sums[0];
}

KERNEL(reduce) {
    unsigned sum = block_sum<true, true>(input(step)[blockIdx.x * blockDim.x + threadIdx.x]);
    output(step)[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}
KERNEL(reduce_without_barrier) {
    unsigned sum = block_sum<true, false>(input(step)[blockIdx.x * blockDim.x + threadIdx.x]);
    output(step)[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}
// The second sum overwrites what the first one's readers may not have read.
template <bool wait> static __device__ __forceinline__ void twice(const CudaStep &step) {
    unsigned first = block_sum<true, true>(input(step)[threadIdx.x]);
    if (wait) __syncthreads();
    unsigned second = block_sum<true, true>(input(step)[threadIdx.x] * 3u);
    output(step)[threadIdx.x] = first + second;
}
KERNEL(reduce_twice) { twice<true>(step); }
KERNEL(reduce_twice_without_barrier) { twice<false>(step); }

// Lanes of a warp read each other's words.
template <bool wait> static __device__ __forceinline__ void neighbours(const CudaStep &step) {
    unsigned *words = (unsigned *)shared_memory();
    words[threadIdx.x] = input(step)[threadIdx.x];
    if (wait) __syncwarp();
    output(step)[threadIdx.x] = words[threadIdx.x ^ 1];
}
KERNEL(exchange) { neighbours<true>(step); }
KERNEL(exchange_without_syncwarp) { neighbours<false>(step); }

KERNEL(shuffles) {
    unsigned lane = threadIdx.x, value = input(step)[lane], *to = output(step) + lane;
    to[0] = __shfl_sync(0xffffffffu, value, 5);
    to[32] = __shfl_xor_sync(0xffffffffu, value, 9);
    to[64] = __shfl_down_sync(0xffffffffu, value, 3);
    to[96] = __shfl_up_sync(0xffffffffu, value, 4);
    to[128] = __shfl_down_sync(0xffffffffu, value, 3, 8);
    to[160] = __shfl_sync(0xffffffffu, value, 11, 8);
    to[192] = __ballot_sync(0xffffffffu, value & 1);
    to[224] = unsigned(__any_sync(0xffffffffu, lane == 7) + 2 * __all_sync(0xffffffffu, lane == 7));
    to[256] = __float_as_uint(__shfl_xor_sync(0xffffffffu, float(value & 0xFFFF), 16));
    // Half a warp alone.
    unsigned half = lane < 16 ? 0x0000ffffu : 0xffff0000u;
    to[288] = lane < 16 ? __shfl_xor_sync(half, value, 1) : __shfl_xor_sync(half, value, 2);
}

// a[16][16] row by row, b[16][8], c[16][8]: bf16 in low halves of words, c in bits of floats.
KERNEL(multiply_bf16) {
    const unsigned *a = input(step), *b = a + 256, *c = b + 128;
    unsigned g = threadIdx.x / 4, t = threadIdx.x % 4;
    auto pair = [](unsigned low, unsigned high) { return low | high << 16; };
    unsigned rows[4];
    for (unsigned i = 0; i < 4; i++) {
        unsigned at = (g + i % 2 * 8) * 16 + i / 2 * 8 + 2 * t;
        rows[i] = pair(a[at], a[at + 1]);
    }
    float sums[4];
    for (unsigned i = 0; i < 4; i++) sums[i] = __uint_as_float(c[(g + i / 2 * 8) * 8 + 2 * t + i % 2]);
    mma_bf16(sums, rows, pair(b[2 * t * 8 + g], b[(2 * t + 1) * 8 + g]),
             pair(b[(2 * t + 8) * 8 + g], b[(2 * t + 9) * 8 + g]));
    for (unsigned i = 0; i < 4; i++) output(step)[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = __float_as_uint(sums[i]);
}
// a[16][32], b[32][8], c[16][8]: a byte in each word.
KERNEL(multiply_bytes) {
    const unsigned *a = input(step), *b = a + 512, *c = b + 256;
    unsigned g = threadIdx.x / 4, t = threadIdx.x % 4, rows[4], columns[2];
    for (unsigned i = 0; i < 4; i++) {
        rows[i] = 0;
        for (unsigned k = 0; k < 4; k++) rows[i] |= a[(g + i % 2 * 8) * 32 + i / 2 * 16 + 4 * t + k] << (8 * k);
    }
    for (unsigned i = 0; i < 2; i++) {
        columns[i] = 0;
        for (unsigned k = 0; k < 4; k++) columns[i] |= b[(i * 16 + 4 * t + k) * 8 + g] << (8 * k);
    }
    int sums[4];
    for (unsigned i = 0; i < 4; i++) sums[i] = int(c[(g + i / 2 * 8) * 8 + 2 * t + i % 2]);
    mma_u8s8(sums, rows, columns[0], columns[1]);
    for (unsigned i = 0; i < 4; i++) output(step)[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = unsigned(sums[i]);
}

// Two groups of 16 bytes a lane; `left` groups may be under way when they are read. Every third lane's is not valid.
template <int left> static __device__ __forceinline__ void copy_groups(const CudaStep &step) {
    uint4 *tiles = (uint4 *)shared_memory();
    const uint4 *from = (const uint4 *)step.weights;
    for (unsigned group = 0; group < 2; group++) {
        unsigned at = group * 32 + threadIdx.x;
        copy_async16(tiles + at, from + at, threadIdx.x % 3 != 0);
        copy_async_commit();
    }
    copy_async_wait<left>();
    for (unsigned at = threadIdx.x; at < 64; at += 32) ((uint4 *)step.logits)[at] = tiles[at];
}
KERNEL(copies) { copy_groups<0>(step); }
KERNEL(copies_but_one) { copy_groups<1>(step); }
KERNEL(copies_without_wait) { copy_groups<2>(step); }
KERNEL(copies_without_commit) {
    uint4 *tiles = (uint4 *)shared_memory();
    copy_async16(tiles + threadIdx.x, (const uint4 *)step.weights + threadIdx.x, true);
    copy_async_wait<0>();
    ((uint4 *)step.logits)[threadIdx.x] = tiles[threadIdx.x];
}
// Each lane reads what its neighbour copied.
KERNEL(copies_of_others) {
    uint4 *tiles = (uint4 *)shared_memory();
    copy_async16(tiles + threadIdx.x, (const uint4 *)step.weights + threadIdx.x, true);
    copy_async_commit();
    copy_async_wait<0>();
    ((uint4 *)step.logits)[threadIdx.x] = tiles[threadIdx.x ^ 33];
}

// Every block leaves its sum; the last one to come adds them up.
template <bool asks> static __device__ __forceinline__ void last_block(const CudaStep &step) {
    unsigned *counter = (unsigned *)step.counters, *sums = (unsigned *)step.arena;
    unsigned *is_last = (unsigned *)shared_memory() + blockDim.x;
    unsigned sum = block_sum<true, true>(input(step)[blockIdx.x * blockDim.x + threadIdx.x]);
    if (threadIdx.x == 0) {
        sums[blockIdx.x] = sum;
        __threadfence();
        unsigned before = atomicAdd(counter, 1u);
        *is_last = asks ? before == gridDim.x - 1 : blockIdx.x == gridDim.x - 1;
    }
    __syncthreads();
    if (!*is_last || threadIdx.x) return;
    unsigned all = 0;
    for (unsigned i = 0; i < gridDim.x; i++) all += sums[i];
    output(step)[0] = all;
    *counter = 0;
}
KERNEL(last_block_sums) { last_block<true>(step); }
KERNEL(highest_block_sums) { last_block<false>(step); }

// Each block writes, all wait for all, each reads the next one's.
KERNEL(grid_barrier) {
    unsigned *counter = (unsigned *)step.counters, *words = (unsigned *)step.arena;
    for (unsigned round = 0; round < 3; round++) {
        if (threadIdx.x == 0) {
            words[round * gridDim.x + blockIdx.x] = input(step)[blockIdx.x] + round;
            add_release(counter, 1u);
            while (load_acquire(counter) < (round + 1) * gridDim.x) spin_pause();
        }
        __syncthreads();
        unsigned next = (blockIdx.x + 1) % gridDim.x;
        if (threadIdx.x == 0) output(step)[round * gridDim.x + blockIdx.x] = words[round * gridDim.x + next];
    }
}

KERNEL(write_behind_shared) { ((unsigned *)shared_memory())[blockDim.x + (threadIdx.x == 77)] = 1; }
KERNEL(write_before_shared) { ((unsigned *)shared_memory())[-1 - int(threadIdx.x)] = 1; }
KERNEL(shared_is_garbage) { output(step)[threadIdx.x] = ((unsigned *)shared_memory())[threadIdx.x]; }
KERNEL(diverged_collectives) {
    if (threadIdx.x % 32 < 9) {
        __syncwarp();
    } else {
        output(step)[0] = __shfl_xor_sync(0xffffffffu, threadIdx.x, 1);
    }
}
KERNEL(lane_left) {
    if (threadIdx.x == 3) return;
    __syncwarp();
}
KERNEL(barrier_or_collective) {
    if (threadIdx.x == 3) {
        __syncthreads();
    } else {
        __syncwarp();
    }
}
KERNEL(waits_for_nobody) {
    while (load_acquire((unsigned *)step.counters) != 1) spin_pause();
}
KERNEL(reads_behind) { output(step)[0] = input(step)[64 * threadIdx.x]; }
KERNEL(misaligned) { ((uint4 *)step.logits)[0] = *(const uint4 *)(input(step) + threadIdx.x); }
KERNEL(misaligned_load) { load_once(((uint4 *)step.logits)[0], input(step) + threadIdx.x, true); }
KERNEL(copies_elsewhere) { copy_async16((unsigned *)step.logits, input(step), true); }
