// What every kernel gets, and where things lie. Step and Row are the runtime's structs.

struct Row {
    int token;
    unsigned position;
    unsigned char* kv;
    unsigned adapter, reserved;
};

struct Step {
    const unsigned char* weights;
    unsigned char* arena;
    Row* rows;
    const unsigned* outputs;
    float* logits;
    unsigned* picks;
    const unsigned* allowed;
    unsigned* counters;
    unsigned long long kv_capacity;
    unsigned n_rows, n_outputs, max_rows, layer, kv_type, advance;

    // Rows are reserved in whole tiles.
    __device__ size_t max_rows_padded() const { return (max_rows + ROW_TILE - 1) / ROW_TILE * ROW_TILE; }

    // Scratch that grows with the rows: `offset` bytes of each row before it.
    __device__ unsigned char* scratch(size_t offset) const { return arena + FIXED_BYTES + max_rows_padded() * offset; }
};
static_assert(sizeof(Row) == 24 && sizeof(Step) == 96, "as the runtime has them");

// Which block of a launch, or of a phase of a persistent kernel, this is.
struct Block {
    unsigned x, y, z, columns;
};

__device__ inline Block this_block() { return {blockIdx.x, blockIdx.y, blockIdx.z, gridDim.x}; }

// A packed tensor.
template <class Segment>
__device__ inline const unsigned char* segment(const Step& s) {
    size_t layer = Segment::PER_LAYER ? layer_offset(s.layer) : 0;
    return s.weights + layer + Segment::OFFSET;
}

// A row of a buffer.
template <class Buffer>
__device__ inline float* row_of(const Step& s, unsigned row) {
    return reinterpret_cast<float*>(s.scratch(Buffer::OFFSET) + row * Buffer::ROW_BYTES);
}

__device__ inline float bf16_low(unsigned word) { return __uint_as_float(word << 16); }
__device__ inline float bf16_high(unsigned word) { return __uint_as_float(word & 0xffff0000u); }

__device__ inline float minus_infinity() { return __uint_as_float(0xff800000u); }

// True in the last of `blocks` blocks to come here; what the others wrote before is then visible. The counter is
// left zero.
__device__ inline bool is_last_block(unsigned* counter, unsigned blocks, int* shared) {
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        *shared = atomicAdd(counter, 1u) == blocks - 1;
        if (*shared) *counter = 0;
    }
    __syncthreads();
    __threadfence();
    return *shared;
}
