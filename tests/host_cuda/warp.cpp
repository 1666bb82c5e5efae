// What the lanes of a warp do together, and copies that are under way.
//
// In: each lane's operand. Out: each lane's result, in its operand.
// Invariant: fragments are laid out as the PTX ISA has them; floats add up in ascending k.

#include <algorithm>

#include "scheduler.hpp"

namespace qwenc_host {

void nothing(void *const *, unsigned) {}

// `from` is the lane a value comes from, or -1: the lane keeps its own.
template <class From> static void shuffle(void *const *operands, unsigned mask, From from) {
    for (unsigned left = mask; left; left &= left - 1) {
        int lane = __builtin_ctz(left);
        auto *mine = static_cast<Shuffle *>(operands[lane]);
        int width = mine->width;
        if (width < 1 || width > 32 || (width & (width - 1))) fail("a shuffle whose width is no power of two up to 32");
        int first = lane & ~(width - 1);
        int source = from(lane, first, width, mine->by);
        if (source < 0) source = lane;
        if (!(mask >> source & 1)) fail("a shuffle from a lane that its mask leaves out");
        mine->result = static_cast<Shuffle *>(operands[source])->value;
    }
}

void shuffle_from(void *const *operands, unsigned mask) {
    shuffle(operands, mask, [](int, int first, int width, int by) { return first + (by & (width - 1)); });
}

void shuffle_xor(void *const *operands, unsigned mask) {
    // As on a device, a lane may look into lower segments, but into no higher one.
    shuffle(operands, mask, [](int lane, int first, int width, int by) {
        int source = lane ^ by;
        return source < first + width && source >= 0 ? source : -1;
    });
}

void shuffle_down(void *const *operands, unsigned mask) {
    shuffle(operands, mask, [](int lane, int first, int width, int by) {
        return by < width && lane + by < first + width ? lane + by : -1;
    });
}

void shuffle_up(void *const *operands, unsigned mask) {
    shuffle(operands, mask, [](int lane, int first, int width, int by) {
        return by < width && lane - by >= first ? lane - by : -1;
    });
}

void vote(void *const *operands, unsigned mask) {
    unsigned ballot = 0;
    for (unsigned lane = 0; lane < 32; lane++) {
        if (mask >> lane & 1) ballot |= static_cast<Vote *>(operands[lane])->predicate << lane;
    }
    for (unsigned lane = 0; lane < 32; lane++) {
        if (mask >> lane & 1) static_cast<Vote *>(operands[lane])->ballot = ballot;
    }
}

static float from_bf16(unsigned bits) { return bits_of<float>(bits << 16); }

void bf16_mma(void *const *operands, unsigned) {
    float a[16][16], b[16][8];
    for (unsigned lane = 0; lane < 32; lane++) {
        const auto *mine = static_cast<const Bf16Mma *>(operands[lane]);
        unsigned g = lane / 4, t = lane % 4;
        const unsigned columns[] = {mine->b0, mine->b1};
        for (unsigned half = 0; half < 2; half++) {
            for (unsigned i = 0; i < 4; i++) {
                a[g + i % 2 * 8][i / 2 * 8 + 2 * t + half] = from_bf16(mine->a[i] >> (16 * half) & 0xFFFF);
            }
            for (unsigned i = 0; i < 2; i++) {
                b[i * 8 + 2 * t + half][g] = from_bf16(columns[i] >> (16 * half) & 0xFFFF);
            }
        }
    }
    float c[16][8];
    auto each = [&](auto exchange) {
        for (unsigned lane = 0; lane < 32; lane++) {
            float *mine = static_cast<Bf16Mma *>(operands[lane])->c;
            for (unsigned i = 0; i < 4; i++) exchange(mine[i], c[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2]);
        }
    };
    each([](float &mine, float &all) { all = mine; });
    for (unsigned row = 0; row < 16; row++) {
        for (unsigned k = 0; k < 16; k++) {
            for (unsigned column = 0; column < 8; column++) c[row][column] += a[row][k] * b[k][column];
        }
    }
    each([](float &mine, float &all) { mine = all; });
}

void byte_mma(void *const *operands, unsigned) {
    int a[16][32], b[32][8];
    for (unsigned lane = 0; lane < 32; lane++) {
        const auto *mine = static_cast<const ByteMma *>(operands[lane]);
        unsigned g = lane / 4, t = lane % 4;
        const unsigned columns[] = {mine->b0, mine->b1};
        for (unsigned byte = 0; byte < 4; byte++) {
            for (unsigned i = 0; i < 4; i++) {
                a[g + i % 2 * 8][i / 2 * 16 + 4 * t + byte] = uint8_t(mine->a[i] >> (8 * byte));
            }
            for (unsigned i = 0; i < 2; i++) b[i * 16 + 4 * t + byte][g] = int8_t(columns[i] >> (8 * byte));
        }
    }
    for (unsigned lane = 0; lane < 32; lane++) {
        auto *mine = static_cast<ByteMma *>(operands[lane]);
        for (unsigned i = 0; i < 4; i++) {
            unsigned row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
            unsigned sum = unsigned(mine->c[i]);
            for (unsigned k = 0; k < 32; k++) sum += unsigned(a[row][k] * b[k][column]);
            mine->c[i] = int(sum);
        }
    }
}

void copy_issue(void *shared, const void *global, bool valid) {
    Fiber &fiber = *running_fiber();
    auto *to = aligned<unsigned char>(shared, 16, "copy_async16 to an address that is not 16-byte aligned");
    auto *from = aligned<const unsigned char>(global, 16, "copy_async16 from an address that is not 16-byte aligned");
    if (to < fiber.shared || to + 16 > fiber.shared + launch.shared_bytes) {
        fail("copy_async16 to an address outside its block's shared memory");
    }
    std::memset(to, 0xFF, 16);
    fiber.copies.push_back({to, from, fiber.groups, valid});
    preempt();
}

void copy_commit() { running_fiber()->groups++; }

static void finish(Fiber &fiber, unsigned groups) {
    auto done = fiber.copies.begin();
    for (; done != fiber.copies.end() && done->group < groups; ++done) {
        if (done->valid) {
            std::memcpy(done->to, done->from, 16);
        } else {
            std::memset(done->to, 0, 16);
        }
    }
    fiber.copies.erase(fiber.copies.begin(), done);
}

void copy_wait(unsigned left) {
    Fiber &fiber = *running_fiber();
    preempt();
    if (fiber.groups > left) finish(fiber, fiber.groups - left);
}

void finish_copies(Fiber &fiber) { finish(fiber, fiber.groups + 1); }

}  // namespace qwenc_host

float from_f16(unsigned short bits) {
    unsigned sign = unsigned(bits & 0x8000) << 16, exponent = bits >> 10 & 31, fraction = bits & 1023;
    if (exponent == 31) return __uint_as_float(sign | 0x7F800000u | fraction << 13);
    if (exponent) return __uint_as_float(sign | (exponent + 112) << 23 | fraction << 13);
    float small = float(fraction) * 0x1p-24f;
    return sign ? -small : small;
}

static unsigned to_bf16(float value) {
    unsigned bits = __float_as_uint(value);
    if (value != value) return 0x7FFF;
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
}

unsigned pack_bf16(float low, float high) { return to_bf16(low) | to_bf16(high) << 16; }
