// Everything that is not plain C++: the instructions that have no name in CUDA C++, wrapped. On the host the same
// names come from cuda_on_host.hpp. mma fragments are those of the PTX ISA: lane = 4 * g + t.
#ifdef __CUDACC__
// The block's dynamic shared memory.
__device__ inline unsigned char* shared_memory() {
    extern __shared__ __align__(128) unsigned char dynamic_shared[];
    return dynamic_shared;
}

// c[16 x 8] += a[16 x 16] * b[16 x 8], bf16 to f32.
__device__ inline void mma_bf16(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// c[16 x 8] += a[16 x 32] * b[32 x 8], unsigned times signed bytes to 32 bits.
__device__ inline void mma_u8s8(int (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// 16 bytes to shared memory, there after copy_async_wait; zeros if not valid.
__device__ inline void copy_async16(void* shared, const void* global, bool valid) {
    unsigned to = static_cast<unsigned>(__cvta_generic_to_shared(shared));
    int bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(bytes) : "memory");
}

__device__ inline void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most N of this thread's groups are under way.
template <int N>
__device__ inline void copy_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

// Predicated load of 16 or 8 bytes that are read once and never written: weights. Without a branch, which would stand between
// loads.
__device__ inline void load_once(uint4& v, const void* global, bool wanted) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.u32 p, %5, 0;\n@p ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];\n}"
                 : "+r"(v.x), "+r"(v.y), "+r"(v.z), "+r"(v.w)
                 : "l"(global), "r"(unsigned(wanted)));
}

__device__ inline void load_once(uint2& v, const void* global, bool wanted) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.u32 p, %3, 0;\n@p ld.global.nc.L1::no_allocate.v2.u32 {%0,%1}, [%2];\n}"
                 : "+r"(v.x), "+r"(v.y)
                 : "l"(global), "r"(unsigned(wanted)));
}

// A float as other blocks of this kernel have written it.
__device__ inline float load_fresh(const float* global) {
    float v;
    asm volatile("ld.global.cg.f32 %0, [%1];" : "=f"(v) : "l"(global) : "memory");
    return v;
}

// Makes a value opaque to the optimiser: nothing computed from it before is reused.
template <class T>
__device__ inline void forget(T*& pointer) {
    asm volatile("" : "+l"(pointer));
}

__device__ inline void forget(int& number) { asm volatile("" : "+r"(number)); }

// threadIdx.x, opaque to the optimiser at each call: a kernel of many phases does not keep in registers what is computed from
// it.
__device__ inline unsigned thread_again() {
    unsigned v;
    asm volatile("mov.u32 %0, %%tid.x;" : "=r"(v));
    return v;
}

// Tells the optimiser that an address is of global memory: accesses may be reordered with those of shared memory.
template <class T>
__device__ inline T* in_global(T* pointer) {
    __builtin_assume(__isGlobal(pointer));
    return pointer;
}

__device__ inline float from_f16(unsigned short bits) {
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(bits));
    return f;
}

// Two floats rounded to bf16, the first in the low half.
__device__ inline unsigned pack_bf16(float low, float high) {
    unsigned r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
}

// Wait of a programmatic dependent launch for the launches before it; their stores are visible after it.
__device__ inline void wait_for_earlier_launches() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#else
    asm volatile("" ::: "memory");
#endif
}

// Trigger of a programmatic dependent launch: the next launch may begin once every block of this one has called it.
__device__ inline void let_next_launch_begin() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#else
    asm volatile("" ::: "memory");
#endif
}

// Starts to fetch a line of 128 bytes to the second-level cache.
__device__ inline void prefetch_l2(const void* global) { asm volatile("prefetch.global.L2 [%0];" ::"l"(global)); }

__device__ inline unsigned load_acquire(const unsigned* global) {
    unsigned v;
    asm volatile("ld.acquire.gpu.u32 %0, [%1];" : "=r"(v) : "l"(global) : "memory");
    return v;
}

// Returns the old value.
__device__ inline unsigned add_release(unsigned* global, unsigned by) {
    unsigned old;
    asm volatile("atom.add.release.gpu.u32 %0, [%1], %2;" : "=r"(old) : "l"(global), "r"(by) : "memory");
    return old;
}

// In a loop that waits for another block.
__device__ inline void spin_pause() { __nanosleep(20); }
#endif
