// Memory of the stand-in driver: allocations, copies, fills.
//
// In: sizes and addresses. Out: device memory, full of garbage, that ends at pages that nobody may touch.
// Invariant: an address is never given out twice, so that memory that was freed is known as such.

#include "driver.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>

#include <sys/mman.h>

using namespace host_driver;

namespace {

constexpr uint64_t page = 4096, alignment = 256;
constexpr unsigned char garbage = 0xFF, guard = 0xC3;

struct Allocation {
    unsigned char *base;      // A page that nobody may touch.
    uint64_t mapped, bytes;   // All pages; what was asked for.
    bool is_live;
};

std::map<Address, Allocation> allocations;
std::map<uintptr_t, uint64_t> pinned;
std::set<uintptr_t> pinned_here;
uint64_t used;

uint64_t total() { return environment("QWENC_HOST_MEMORY", uint64_t(2) << 30); }

// The allocation that begins at or before an address.
const std::pair<const Address, Allocation> *before(Address at) {
    auto next = allocations.upper_bound(at);
    return next == allocations.begin() ? nullptr : &*std::prev(next);
}

void check(Address start, const Allocation &allocation) {
    const unsigned char *user = reinterpret_cast<unsigned char *>(start);
    const unsigned char *first = allocation.base + page, *last = allocation.base + allocation.mapped - page;
    for (const unsigned char *at = first; at < last; at++) {
        if (at == user) at += allocation.bytes;
        if (at >= last) break;
        if (*at == guard) continue;
        long off = at < user ? long(at - user) : long(at - user) - long(allocation.bytes);
        die("something wrote beside an allocation of " + std::to_string(allocation.bytes) +
            " bytes of device memory: " + std::to_string(off < 0 ? -off : off) + " bytes " +
            (off < 0 ? "before it" : "behind it"));
    }
}

void explain(const void *address, char *text, size_t bytes) {
    std::snprintf(text, bytes, "%s", describe(reinterpret_cast<Address>(address)).c_str());
}

Result fill(Address at, uint64_t count, unsigned size, unsigned value, Work *work) {
    if (!is_device(at, count * size) || at % size) return invalid_value;
    *work = [=] {
        auto *to = reinterpret_cast<unsigned char *>(at);
        if (size == 1) {
            std::memset(to, int(value), count);
        } else {
            for (uint64_t i = 0; i < count; i++) std::memcpy(to + i * 4, &value, 4);
        }
    };
    return success;
}

Result now(Work work) {
    if (auto refused = check_no_capture()) return refused;
    finish_blocking();
    work();
    return success;
}

Result to_device(Address to, const void *from, uint64_t bytes, Stream *stream) {
    if (!is_device(to, bytes) || is_device(reinterpret_cast<Address>(from), 1)) return invalid_value;
    auto *target = reinterpret_cast<void *>(to);
    if (is_pinned(from, bytes)) return enqueue(stream, [=] { std::memcpy(target, from, bytes); });
    // A driver takes its own copy of memory that is not pinned before it returns.
    if (stream && stream->capturing) return stream_capture_unsupported;
    std::vector<unsigned char> copy(static_cast<const unsigned char *>(from),
                                    static_cast<const unsigned char *>(from) + bytes);
    return enqueue(stream, [=] { std::memcpy(target, copy.data(), copy.size()); });
}

Result to_host(void *to, Address from, uint64_t bytes, Stream *stream) {
    if (!is_device(from, bytes) || is_device(reinterpret_cast<Address>(to), 1)) return invalid_value;
    bool waits = !is_pinned(to, bytes);
    if (waits && stream && stream->capturing) return stream_capture_unsupported;
    Result result = enqueue(stream, [=] { std::memcpy(to, reinterpret_cast<void *>(from), bytes); });
    if (waits && result == success) finish(stream);
    return result;
}

}  // namespace

namespace host_driver {

bool is_device(Address at, uint64_t bytes) {
    auto *found = before(at);
    return found && found->second.is_live && at - found->first <= found->second.bytes &&
           bytes <= found->second.bytes - (at - found->first) && at != found->first + found->second.bytes;
}

bool is_pinned(const void *at, uint64_t bytes) {
    auto address = reinterpret_cast<uintptr_t>(at);
    auto next = pinned.upper_bound(address);
    if (next == pinned.begin()) return false;
    auto found = *std::prev(next);
    return address + bytes <= found.first + found.second;
}

void check_guards() {
    for (auto &[start, allocation] : allocations) {
        if (allocation.is_live) check(start, allocation);
    }
}

std::string describe(Address at) {
    auto *found = before(at);
    if (!found || at > reinterpret_cast<Address>(found->second.base) + found->second.mapped + (1 << 20)) {
        return "which is no device memory";
    }
    uint64_t offset = at - found->first;
    return std::to_string(offset) + " bytes into " + std::to_string(found->second.bytes) + " bytes of device memory" +
           (found->second.is_live ? "" : " that were freed");
}

// For the kernels' library, which names addresses in its messages.
void (*explain_address)(const void *, char *, size_t) = explain;

}  // namespace host_driver

CUDA_CALL(cuMemAlloc_v2)(Address *to, size_t bytes) {
    ENTER;
    if (auto refused = check_no_capture()) return refused;
    if (!to || !bytes) return invalid_value;
    if (bytes > total() || used > total() - bytes) return out_of_memory;
    uint64_t mapped = (bytes + page - 1) / page * page + 2 * page;
    void *base = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) return out_of_memory;
    auto *first = static_cast<unsigned char *>(base);
    unsigned char *user = first + mapped - page - (bytes + alignment - 1) / alignment * alignment;
    std::memset(first + page, guard, size_t(user - first - page));
    std::memset(user, garbage, bytes);
    std::memset(user + bytes, guard, size_t(first + mapped - page - user) - bytes);
    mprotect(first, page, PROT_NONE);
    mprotect(first + mapped - page, page, PROT_NONE);
    *to = reinterpret_cast<Address>(user);
    allocations[*to] = {first, mapped, bytes, true};
    used += bytes;
    return success;
}

CUDA_CALL(cuMemFree_v2)(Address at) {
    ENTER;
    if (auto refused = check_no_capture()) return refused;
    finish_all();
    auto found = allocations.find(at);
    if (found == allocations.end() || !found->second.is_live) return invalid_value;
    check(at, found->second);
    mprotect(found->second.base, found->second.mapped, PROT_NONE);
    madvise(found->second.base, found->second.mapped, MADV_DONTNEED);
    found->second.is_live = false;
    used -= found->second.bytes;
    return success;
}

CUDA_CALL(cuMemGetInfo_v2)(size_t *left, size_t *all) {
    ENTER;
    if (!left || !all) return invalid_value;
    *all = total();
    *left = *all - used;
    return success;
}

CUDA_CALL(cuMemHostAlloc)(void **to, size_t bytes, unsigned) {
    ENTER;
    if (auto refused = check_no_capture()) return refused;
    if (!to || !bytes) return invalid_value;
    *to = std::aligned_alloc(page, (bytes + page - 1) / page * page);
    if (!*to) return out_of_memory;
    std::memset(*to, garbage, bytes);
    pinned[reinterpret_cast<uintptr_t>(*to)] = bytes;
    pinned_here.insert(reinterpret_cast<uintptr_t>(*to));
    return success;
}

CUDA_CALL(cuMemAllocHost_v2)(void **to, size_t bytes) { return cuMemHostAlloc(to, bytes, 0); }

CUDA_CALL(cuMemFreeHost)(void *at) {
    ENTER;
    if (!pinned_here.erase(reinterpret_cast<uintptr_t>(at))) return invalid_value;
    finish_all();
    pinned.erase(reinterpret_cast<uintptr_t>(at));
    std::free(at);
    return success;
}

CUDA_CALL(cuMemHostRegister_v2)(void *at, size_t bytes, unsigned) {
    ENTER;
    if (!at || !bytes || is_pinned(at, 1)) return invalid_value;
    pinned[reinterpret_cast<uintptr_t>(at)] = bytes;
    return success;
}

CUDA_CALL(cuMemHostUnregister)(void *at) {
    ENTER;
    auto address = reinterpret_cast<uintptr_t>(at);
    if (pinned_here.count(address)) return invalid_value;
    finish_all();
    return pinned.erase(address) ? success : invalid_value;
}

CUDA_CALL(cuMemHostGetDevicePointer_v2)(Address *to, void *from, unsigned flags) {
    ENTER;
    if (!to || flags || !is_pinned(from, 1)) return invalid_value;
    *to = reinterpret_cast<Address>(from);
    return success;
}

CUDA_CALL(cuMemsetD8Async)(Address at, unsigned char value, size_t count, Stream *stream) {
    ENTER;
    Work work;
    if (auto refused = fill(at, count, 1, value, &work)) return refused;
    return enqueue(stream, work);
}

CUDA_CALL(cuMemsetD32Async)(Address at, unsigned value, size_t count, Stream *stream) {
    ENTER;
    Work work;
    if (auto refused = fill(at, count, 4, value, &work)) return refused;
    return enqueue(stream, work);
}

CUDA_CALL(cuMemsetD8_v2)(Address at, unsigned char value, size_t count) {
    ENTER;
    Work work;
    if (auto refused = fill(at, count, 1, value, &work)) return refused;
    return now(work);
}

CUDA_CALL(cuMemsetD32_v2)(Address at, unsigned value, size_t count) {
    ENTER;
    Work work;
    if (auto refused = fill(at, count, 4, value, &work)) return refused;
    return now(work);
}

CUDA_CALL(cuMemcpyHtoDAsync_v2)(Address to, const void *from, size_t bytes, Stream *stream) {
    ENTER;
    return to_device(to, from, bytes, stream);
}

CUDA_CALL(cuMemcpyDtoHAsync_v2)(void *to, Address from, size_t bytes, Stream *stream) {
    ENTER;
    return to_host(to, from, bytes, stream);
}

CUDA_CALL(cuMemcpyDtoDAsync_v2)(Address to, Address from, size_t bytes, Stream *stream) {
    ENTER;
    if (!is_device(to, bytes) || !is_device(from, bytes)) return invalid_value;
    return enqueue(stream, [=] { std::memmove(reinterpret_cast<void *>(to), reinterpret_cast<void *>(from), bytes); });
}

CUDA_CALL(cuMemcpyHtoD_v2)(Address to, const void *from, size_t bytes) {
    ENTER;
    if (!is_device(to, bytes)) return invalid_value;
    return now([=] { std::memcpy(reinterpret_cast<void *>(to), from, bytes); });
}

CUDA_CALL(cuMemcpyDtoH_v2)(void *to, Address from, size_t bytes) {
    ENTER;
    if (!is_device(from, bytes)) return invalid_value;
    return now([=] { std::memcpy(to, reinterpret_cast<void *>(from), bytes); });
}

CUDA_CALL(cuMemcpyDtoD_v2)(Address to, Address from, size_t bytes) {
    ENTER;
    if (!is_device(to, bytes) || !is_device(from, bytes)) return invalid_value;
    return now([=] { std::memmove(reinterpret_cast<void *>(to), reinterpret_cast<void *>(from), bytes); });
}
