// Probes of the device: an empty launch, reading, and a barrier of all blocks, each by itself. Nothing of a model runs them.

__device__ inline void probe_launch(const Step&, const Block&) {}

// Reads the weights as linears do; any blocks share them out.
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
    // Loads whose values go nowhere would not be waited for.
    reinterpret_cast<unsigned*>(s.arena)[threadIdx.x] = sum;
}

// Barriers of a persistent kernel, with nothing between them.
__device__ inline void probe_barriers(Step s, const Block&) {
    Phases phases(s);
    for (int i = 0; i < PROBED_BARRIERS; i++) phases.meet(s, [] {});
    phases.finish();
}
