// What generated CUDA C++ needs to be compiled by g++ and run on the host.
//
// In: calls that a kernel makes. Out: what a device would do, or an error that names kernel, block and thread.
// Invariant: every lane is a fiber of its own. Lanes, warps and blocks run in an order that the launch's seed
// chooses, and change places only in the calls below: what is right here under every seed does not lean on the
// order in which a device runs them. Nothing here knows a model.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#define __global__ __attribute__((visibility("default")))
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ _Pragma("GCC error \"a block's memory comes from shared_memory() alone\"")

struct __align__(8) uint2 { unsigned x, y; };
struct __align__(8) int2 { int x, y; };
struct __align__(8) float2 { float x, y; };
struct uint3 { unsigned x, y, z; };
struct __align__(16) uint4 { unsigned x, y, z, w; };
struct __align__(16) int4 { int x, y, z, w; };
struct __align__(16) float4 { float x, y, z, w; };
using dim3 = uint3;

inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

namespace qwenc_host {

// What a running lane sees of itself.
struct Lane {
    uint3 thread, block;
    unsigned char *shared;
};
extern Lane *current;
extern uint3 block_dim, grid_dim;

// What `collective` calls once, when every lane of `mask` has come, with each lane's operand.
using Combine = void (*)(void *const *operands, unsigned mask);
void collective(const char *call, Combine combine, unsigned mask, void *operand);
void barrier();
// A place where other lanes may run before this one goes on; by chance.
void preempt();
// Preemption after an atomic operation, by which blocks synchronise: half of the time others run.
void let_others_run();
// The same for a lane that waits for others: they surely run.
void pause_spinning();
// Memory that others may wait for has changed.
void progressed();
// A fence: a release and, after an atomic operation, an acquire.
void fence();
// Notes an atomic operation of the running block.
void met();
// Number of the call to leave out, among those that a test has numbered; -1: none.
extern int left_out;
// Wait of a programmatic dependent launch for the launch before.
void wait_for_launches();
[[noreturn]] void fail(const char *what);

struct Shuffle {
    uint64_t value;
    int by, width;
    uint64_t result;
};
void shuffle_from(void *const *, unsigned);
void shuffle_xor(void *const *, unsigned);
void shuffle_down(void *const *, unsigned);
void shuffle_up(void *const *, unsigned);
void nothing(void *const *, unsigned);
struct Vote {
    unsigned predicate, ballot;
};
void vote(void *const *, unsigned);
struct Bf16Mma {
    float *c;
    const unsigned *a;
    unsigned b0, b1;
};
void bf16_mma(void *const *, unsigned);
struct ByteMma {
    int *c;
    const unsigned *a;
    unsigned b0, b1;
};
void byte_mma(void *const *, unsigned);
void copy_issue(void *shared, const void *global, bool valid);
void copy_commit();
void copy_wait(unsigned left);

template <class To, class From> To bits_of(From from) {
    static_assert(sizeof(To) == sizeof(From), "the same size");
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}

template <class T> T shuffled(const char *call, Combine combine, unsigned mask, T value, int by, int width) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "a word or two");
    Shuffle shuffle = {0, by, width, 0};
    std::memcpy(&shuffle.value, &value, sizeof value);
    collective(call, combine, mask, &shuffle);
    std::memcpy(&value, &shuffle.result, sizeof value);
    return value;
}

template <class T> T *aligned(const void *address, unsigned to, const char *what) {
    if (reinterpret_cast<uintptr_t>(address) % to) fail(what);
    return static_cast<T *>(const_cast<void *>(address));
}

inline unsigned ballot(const char *call, unsigned mask, int predicate) {
    Vote vote_of_lane = {predicate != 0, 0};
    collective(call, vote, mask, &vote_of_lane);
    return vote_of_lane.ballot;
}

// One step that no other lane comes between.
template <class T, class Next> T atomic(T *address, Next next) {
    preempt();
    met();
    T old = *aligned<T>(address, sizeof(T), "an atomic operation on an address that is not aligned");
    T now = next(old);
    if (std::memcmp(&now, &old, sizeof now)) {
        *address = now;
        progressed();
    }
    let_others_run();
    return old;
}

}  // namespace qwenc_host

#define threadIdx (::qwenc_host::current->thread)
#define blockIdx (::qwenc_host::current->block)
#define blockDim (::qwenc_host::block_dim)
#define gridDim (::qwenc_host::grid_dim)
constexpr int warpSize = 32;

inline void __syncthreads() { qwenc_host::barrier(); }
inline void __syncwarp(unsigned mask = 0xffffffffu) {
    qwenc_host::collective("__syncwarp", qwenc_host::nothing, mask, nullptr);
}
template <class T> T __shfl_sync(unsigned mask, T value, int lane, int width = 32) {
    return qwenc_host::shuffled("__shfl_sync", qwenc_host::shuffle_from, mask, value, lane, width);
}
template <class T> T __shfl_xor_sync(unsigned mask, T value, int with, int width = 32) {
    return qwenc_host::shuffled("__shfl_xor_sync", qwenc_host::shuffle_xor, mask, value, with, width);
}
template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32) {
    return qwenc_host::shuffled("__shfl_down_sync", qwenc_host::shuffle_down, mask, value, int(by), width);
}
template <class T> T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32) {
    return qwenc_host::shuffled("__shfl_up_sync", qwenc_host::shuffle_up, mask, value, int(by), width);
}
inline int __any_sync(unsigned mask, int predicate) {
    return qwenc_host::ballot("__any_sync", mask, predicate) != 0;
}
inline int __all_sync(unsigned mask, int predicate) {
    return qwenc_host::ballot("__all_sync", mask, predicate) == mask;
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
    return qwenc_host::ballot("__ballot_sync", mask, predicate);
}

inline unsigned atomicAdd(unsigned *at, unsigned by) {
    return qwenc_host::atomic(at, [=](unsigned old) { return old + by; });
}
inline int atomicAdd(int *at, int by) {
    return qwenc_host::atomic(at, [=](int old) { return int(unsigned(old) + unsigned(by)); });
}
inline unsigned long long atomicAdd(unsigned long long *at, unsigned long long by) {
    return qwenc_host::atomic(at, [=](unsigned long long old) { return old + by; });
}
inline float atomicAdd(float *at, float by) {
    return qwenc_host::atomic(at, [=](float old) { return old + by; });
}
template <class T> T atomicMax(T *at, std::common_type_t<T> with) {
    static_assert(T(0.5f) == 0, "integers");
    return qwenc_host::atomic(at, [=](T old) { return old < with ? with : old; });
}
template <class T> T atomicMin(T *at, std::common_type_t<T> with) {
    static_assert(T(0.5f) == 0, "integers");
    return qwenc_host::atomic(at, [=](T old) { return with < old ? with : old; });
}
template <class T> T atomicExch(T *at, std::common_type_t<T> with) {
    return qwenc_host::atomic(at, [=](T) { return with; });
}
template <class T> T atomicCAS(T *at, std::common_type_t<T> expected, std::common_type_t<T> with) {
    return qwenc_host::atomic(at, [=](T old) { return old == expected ? with : old; });
}
inline void wait_for_earlier_launches() { qwenc_host::wait_for_launches(); }
inline void let_next_launch_begin() {}
inline void __threadfence() { qwenc_host::fence(); }
inline void __threadfence_block() {}
inline void __nanosleep(unsigned) { qwenc_host::pause_spinning(); }
inline void __trap() { qwenc_host::fail("__trap()"); }

inline unsigned __float_as_uint(float value) { return qwenc_host::bits_of<unsigned>(value); }
inline int __float_as_int(float value) { return qwenc_host::bits_of<int>(value); }
inline float __uint_as_float(unsigned bits) { return qwenc_host::bits_of<float>(bits); }
inline float __int_as_float(int bits) { return qwenc_host::bits_of<float>(bits); }
template <class T> T __ldg(const T *address) { return *address; }
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __clz(int bits) { return bits ? __builtin_clz(unsigned(bits)) : 32; }
inline int __ffs(int bits) { return __builtin_ffs(bits); }
inline float __expf(float x) { return expf(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline int __float2int_rn(float x) { return int(rintf(x)); }
inline float __int2float_rn(int x) { return float(x); }
inline int min(int a, int b) { return b < a ? b : a; }
inline int max(int a, int b) { return a < b ? b : a; }
inline unsigned min(unsigned a, unsigned b) { return b < a ? b : a; }
inline unsigned max(unsigned a, unsigned b) { return a < b ? b : a; }
inline unsigned long long min(unsigned long long a, unsigned long long b) { return b < a ? b : a; }
inline unsigned long long max(unsigned long long a, unsigned long long b) { return a < b ? b : a; }
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }

// The wrappers around what is inline PTX on a device.

inline unsigned char *shared_memory() { return qwenc_host::current->shared; }
inline void mma_bf16(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    qwenc_host::Bf16Mma operands = {c, a, b0, b1};
    qwenc_host::collective("mma_bf16", qwenc_host::bf16_mma, 0xffffffffu, &operands);
}
inline void mma_u8s8(int (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    qwenc_host::ByteMma operands = {c, a, b0, b1};
    qwenc_host::collective("mma_u8s8", qwenc_host::byte_mma, 0xffffffffu, &operands);
}
// The 16 bytes hold garbage from here to the wait.
inline void copy_async16(void *shared, const void *global, bool valid) {
    qwenc_host::copy_issue(shared, global, valid);
}
inline void copy_async_commit() { qwenc_host::copy_commit(); }
template <int N> void copy_async_wait() {
    static_assert(N >= 0, "a number of groups");
    qwenc_host::copy_wait(N);
}
inline void load_once(uint4 &v, const void *global, bool wanted) {
    if (wanted) v = *qwenc_host::aligned<const uint4>(global, 16, "load_once: an address that is not 16-byte aligned");
}
inline void load_once(uint2 &v, const void *global, bool wanted) {
    if (wanted) v = *qwenc_host::aligned<const uint2>(global, 8, "load_once: an address that is not 8-byte aligned");
}
inline float load_fresh(const float *global) {
    qwenc_host::preempt();
    return *qwenc_host::aligned<const float>(global, 4, "load_fresh: an address that is not 4-byte aligned");
}
inline unsigned thread_again() { return threadIdx.x; }
template <class T> void forget(T &) {}
template <class T> T *in_global(T *pointer) { return pointer; }
float from_f16(unsigned short bits);
unsigned pack_bf16(float low, float high);
inline void prefetch_l2(const void *) {}
inline unsigned load_acquire(const unsigned *address) {
    qwenc_host::preempt();
    qwenc_host::met();
    return *address;
}
inline void store_release(unsigned *address, unsigned value) {
    qwenc_host::preempt();
    *address = value;
    qwenc_host::progressed();
}
inline unsigned add_release(unsigned *address, unsigned by) { return atomicAdd(address, by); }
inline void spin_pause() { qwenc_host::pause_spinning(); }
