// The argument of a kernel, looked at before the kernel runs.
//
// In: the bytes of a step as qwenc's kernels take it. Out: nothing, or the end of the program with what is wrong.
// Invariant: only this file of the driver knows the step. The host would forgive a kernel that reads the host's
// own memory; a device does not, so every address must be device memory or pinned.

#include "driver.hpp"

#include <cstring>

namespace {

// As the runtime lays them out.
struct Step {
    uint64_t weights, arena, rows, outputs, logits, picks, allowed, counters, kv_capacity;
    uint32_t n_rows, n_outputs, max_rows, layer, kv_type, advance;
};
static_assert(sizeof(Step) == QWENC_STEP_BYTES, "driver_step.cpp must follow the runtime's CudaStep");

struct Row {
    int32_t token;
    uint32_t position;
    uint64_t kv;
    uint32_t adapter, reserved;
};

}  // namespace

void host_driver::check_step(const std::string &kernel, const void *argument) {
    Step step;
    std::memcpy(&step, argument, sizeof step);
    auto must_be = [&](const char *name, uint64_t at, uint64_t bytes, unsigned alignment) {
        bool is_there = is_device(at, bytes) || is_pinned(reinterpret_cast<void *>(at), bytes);
        if (is_there && at % alignment == 0) return;
        die("launch of " + kernel + ": " + name + " is address " + std::to_string(at) + ", " + describe(at) + "; " +
            std::to_string(bytes) + " bytes aligned to " + std::to_string(alignment) + " must be there");
    };
    uint64_t rows = step.n_rows, outputs = step.n_outputs;
    if (!rows || rows > step.max_rows || outputs > rows || step.kv_type > 2 || step.advance > 1) {
        die("launch of " + kernel + ": a step of " + std::to_string(rows) + " rows of at most " +
            std::to_string(step.max_rows) + ", " + std::to_string(outputs) + " outputs, kv_type " +
            std::to_string(step.kv_type) + ", advance " + std::to_string(step.advance));
    }
    must_be("weights", step.weights, 1, 256);
    must_be("arena", step.arena, 1, 256);
    must_be("rows", step.rows, rows * sizeof(Row), 16);
    if (step.counters) must_be("counters", step.counters, 4, 4);
    if (step.allowed) must_be("allowed", step.allowed, 4, 4);
    if (outputs) {
        must_be("outputs", step.outputs, outputs * 4, 4);
        must_be("logits", step.logits, outputs * 4, 16);
        must_be("picks", step.picks, outputs * 4, 4);
    }
    for (uint64_t i = 0; i < rows; i++) {
        Row row;
        std::memcpy(&row, reinterpret_cast<const void *>(step.rows + i * sizeof row), sizeof row);
        std::string name = "rows[" + std::to_string(i) + "].kv";
        must_be(name.c_str(), row.kv, 1, 64);
        if (row.token < 0 || row.position >= step.kv_capacity) {
            die("launch of " + kernel + ": rows[" + std::to_string(i) + "] is token " + std::to_string(row.token) +
                " at position " + std::to_string(row.position) + " of " + std::to_string(step.kv_capacity));
        }
    }
    for (uint64_t i = 0; i < outputs; i++) {
        uint32_t output;
        std::memcpy(&output, reinterpret_cast<const void *>(step.outputs + i * 4), 4);
        if (output >= rows) die("launch of " + kernel + ": output " + std::to_string(output) + " of a step of fewer rows");
    }
}
