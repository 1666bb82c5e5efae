// Continues several texts together, each in a cache of its own, and prints the tokens of each.
//
//   c++ -std=c++17 batch.cpp -I. -L. -lqwen -Wl,-rpath,'$ORIGIN' -o batch
//   ./batch TOKENS TEMPERATURE SEED TEXT...
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "qwen.h"

namespace {

template <typename Number>
Number checked(Number result) {
    if (result < 0) throw std::runtime_error(qwen_last_error());
    return result;
}

template <typename Handle>
Handle *checked(Handle *handle) {
    if (!handle) throw std::runtime_error(qwen_last_error());
    return handle;
}

struct Free {
    void operator()(qwen_model *model) const { qwen_free(model); }
    void operator()(qwen_cache *cache) const { qwen_cache_free(cache); }
};
using Model = std::unique_ptr<qwen_model, Free>;
using Cache = std::unique_ptr<qwen_cache, Free>;

std::vector<uint32_t> tokens_of(const qwen_model *model, const std::string &text) {
    std::vector<uint32_t> tokens(text.size() + 1);
    const auto count =
        checked(qwen_tokenize(model, text.data(), text.size(), 1, tokens.data(), tokens.size()));
    tokens.resize(static_cast<size_t>(count));
    return tokens;
}

// What of the texts' tokens is the same for all.
size_t common(const std::vector<std::vector<uint32_t>> &all) {
    size_t same = 0;
    for (;; ++same)
        for (const auto &tokens : all)
            if (same + 1 >= tokens.size() || tokens[same] != all[0][same]) return same;
}

void run(int steps, const qwen_sampling &how, const std::vector<std::string> &texts) {
    qwen_options options = QWEN_OPTIONS_INIT;
    options.context = 256;
    const Model model(checked(qwen_load(&options)));
    std::vector<std::vector<uint32_t>> all;
    for (const auto &text : texts) all.push_back(tokens_of(model.get(), text));

    // The beginning that all have in common is fed once; every cache begins as a copy of it.
    const size_t shared = common(all);
    const Cache first(checked(qwen_cache_new(model.get())));
    if (shared > 0) {
        uint32_t ignored = 0;
        const qwen_request request = { first.get(), all[0].data(), shared, 0, QWEN_SAMPLING_INIT };
        checked(qwen_infer_batch(model.get(), &request, 1, &ignored));
    }
    std::vector<Cache> caches;
    std::vector<qwen_request> requests;
    for (const auto &tokens : all) {
        caches.emplace_back(checked(qwen_cache_duplicate(first.get(), shared)));
        requests.push_back({ caches.back().get(), tokens.data() + shared, tokens.size() - shared, QWEN_AT_END, how });
    }
    std::vector<uint32_t> next(texts.size());
    std::vector<std::vector<uint32_t>> answers(texts.size());
    for (int step = 0; step < steps; ++step) {
        checked(qwen_infer_batch(model.get(), requests.data(), requests.size(), next.data()));
        for (size_t i = 0; i < texts.size(); ++i) {
            answers[i].push_back(next[i]);
            requests[i].tokens = &next[i];
            requests[i].count = 1;
            requests[i].sampling.draw = static_cast<uint64_t>(step) + 1;
        }
    }
    for (const auto &answer : answers)
        for (size_t i = 0; i < answer.size(); ++i)
            std::printf("%u%c", static_cast<unsigned>(answer[i]), i + 1 < answer.size() ? ',' : '\n');
}

}  // namespace

int main(int argc, char **argv) {
    if (argc < 5) {
        std::fprintf(stderr, "usage: %s TOKENS TEMPERATURE SEED TEXT...\n", argv[0]);
        return 2;
    }
    try {
        qwen_sampling how = QWEN_SAMPLING_INIT;
        how.temperature = std::strtof(argv[2], nullptr);
        how.seed = std::strtoull(argv[3], nullptr, 10);
        run(std::atoi(argv[1]), how, { argv + 4, argv + argc });
    } catch (const std::exception &e) {
        std::fprintf(stderr, "error: %s\n", e.what());
        return 1;
    }
}
