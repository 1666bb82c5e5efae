// Faults of kernels, and the stacks of fibers.
//
// In: a signal that a kernel raised. Out: an error of its launch that says where; other code's signals go on to
// whoever had them before. Invariant: the handler runs on a stack of its own, for a fiber's may be used up.

#include <csignal>
#include <cstdio>
#include <cstdlib>

#include <sys/mman.h>
#include <ucontext.h>

#include "scheduler.hpp"

namespace qwenc_host {

static struct sigaction before[NSIG];
// Says what stands at an address; the driver sets it, for it knows the allocations.
static void (*explain)(const void *address, char *text, size_t bytes);

static void leave() { stop(); }

static std::string describe(int signal, const siginfo_t *info) {
    char text[512] = "";
    if (signal == SIGFPE) return "divides an integer by zero";
    if (signal == SIGILL || signal == SIGTRAP) {
        return "accesses memory through an address that its type may not have, or an array behind its end, or shifts "
               "by more than the bits there are";
    }
    std::snprintf(text, sizeof text, "accesses memory that is not there: address %p", info->si_addr);
    std::string said = text;
    text[0] = 0;
    if (explain) explain(info->si_addr, text, sizeof text);
    return text[0] ? said + ", " + text : said;
}

static void handle(int signal, siginfo_t *info, void *context) {
    if (!is_running()) {
        // The instruction runs again, and faults again, with the old handler in place.
        sigaction(signal, &before[signal], nullptr);
        return;
    }
    launch.error = where(*running_fiber()) + ": " + describe(signal, info);
    static unsigned char spare[64 * 1024];
    auto top = reinterpret_cast<uintptr_t>(spare + sizeof spare) & ~uintptr_t(15);
    auto *registers = static_cast<ucontext_t *>(context)->uc_mcontext.gregs;
    registers[REG_RSP] = greg_t(top - 8);
    registers[REG_RIP] = greg_t(reinterpret_cast<uintptr_t>(leave));
}

void catch_faults() {
    static thread_local bool has_stack = false;
    if (!has_stack) {
        has_stack = true;
        stack_t stack = {};
        stack.ss_size = 256 * 1024;
        stack.ss_sp = std::malloc(stack.ss_size);
        sigaltstack(&stack, nullptr);
    }
    static bool installed = false;
    if (installed) return;
    installed = true;
    struct sigaction action = {};
    action.sa_sigaction = handle;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    for (int signal : {SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE}) sigaction(signal, &action, &before[signal]);
}

unsigned char *map_stacks(unsigned count) {
    size_t bytes = size_t(count) * stack_bytes;
    void *at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) {
        std::fprintf(stderr, "host CUDA: no memory for the stacks of a block\n");
        std::abort();
    }
    return static_cast<unsigned char *>(at);
}

}  // namespace qwenc_host

extern "C" __attribute__((visibility("default"))) void qwenc_host_explain_with(
    void (*explain)(const void *address, char *text, size_t bytes)) {
    qwenc_host::explain = explain;
}
