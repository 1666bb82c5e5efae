// Probe kernels, which measure the device: launch latency, read bandwidth, barrier latency. No step runs them.

// Empty kernel.
__device__ inline void probe_launch(const Step&, const Block&) {}

// Read of all weights, with the loads that linears use, by any number of blocks.
__device__ inline void probe_reading(const Step& s, const Block& at) {
    constexpr size_t AHEAD = 8, LOAD = sizeof(uint4);
    size_t stride = size_t(at.columns) * THREADS * LOAD;
    unsigned sum = 0;
    for (size_t i = (size_t(at.x) * THREADS + threadIdx.x) * LOAD; i < WEIGHTS_BYTES; i += AHEAD * stride) {
        uint4 v[AHEAD] = {};
#pragma unroll
        for (size_t j = 0; j < AHEAD; j++) load_once(v[j], s.weights + i + j * stride, i + j * stride + LOAD <= WEIGHTS_BYTES);
#pragma unroll
        for (size_t j = 0; j < AHEAD; j++) sum += v[j].x ^ v[j].y ^ v[j].z ^ v[j].w;
    }
    // A kernel does not wait for loads whose values are not used.
    reinterpret_cast<unsigned*>(s.arena)[threadIdx.x] = sum;
}

// Barriers of the persistent kernel, without work between them.
__device__ inline void probe_barriers(Step s, const Block&) {
    Phases phases(s);
    for (int i = 0; i < PROBED_BARRIERS; i++) phases.meet(s, [] {});
    phases.finish();
}
