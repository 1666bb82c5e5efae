/* Answers one question as the model's chat template has it, word by word.
 *
 *   cc -std=c11 chat.c -I. -L. -lqwen -Wl,-rpath,'$ORIGIN' -o chat
 *   ./chat "What is the capital of Japan?" [TEMPERATURE [SEED]]
 */
#include <stdio.h>
#include <stdlib.h>

#include "qwen.h"

static int failed(const char *what) {
    fprintf(stderr, "%s: %s\n", what, qwen_last_error());
    return 1;
}

static int32_t print(void *user, uint32_t token, const char *text, size_t bytes) {
    (void)token;
    fwrite(text, 1, bytes, (FILE *)user);
    return fflush((FILE *)user) != 0;
}

/* The question as tokens, allocated. */
static uint32_t *prompt_of(const qwen_model *model, const char *question, size_t *count) {
    const qwen_message messages[] = { { "user", question } };
    qwen_chat chat = QWEN_CHAT_INIT;
    chat.messages = messages;
    chat.count = 1;
    chat.thinking = -1;
    int64_t needed = qwen_chat_tokens(model, &chat, NULL, 0);
    if (needed < 0)
        return NULL;
    uint32_t *tokens = malloc((size_t)needed * sizeof *tokens);
    if (tokens)
        *count = (size_t)qwen_chat_tokens(model, &chat, tokens, (size_t)needed);
    return tokens;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: %s QUESTION [TEMPERATURE [SEED]]\n", argv[0]);
        return 2;
    }
    qwen_options options = QWEN_OPTIONS_INIT;
    options.context = 512;
    qwen_model *model = qwen_load(&options);
    if (!model)
        return failed("loading");
    qwen_info info = QWEN_INFO_INIT;
    if (qwen_model_info(model, &info) < 0)
        return failed("asking");
    fprintf(stderr, "%s: %u layers, %u heads of %u, %u tokens\n", info.name, (unsigned)info.layers,
            (unsigned)info.heads, (unsigned)info.head_dim, (unsigned)info.vocab);

    size_t count = 0;
    uint32_t *tokens = prompt_of(model, argv[1], &count);
    qwen_cache *cache = qwen_cache_new(model);
    if (!tokens || !cache)
        return failed("preparing");
    qwen_generation how = QWEN_GENERATION_INIT;
    how.sampling.temperature = argc > 2 ? (float)atof(argv[2]) : 0.0f;
    how.sampling.seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
    qwen_report report = QWEN_REPORT_INIT;
    if (qwen_generate(model, cache, tokens, count, &how, print, stdout, &report) < 0)
        return failed("generating");
    printf("\n");
    fprintf(stderr, "%u tokens, %llu fed\n", (unsigned)report.generated,
            (unsigned long long)(report.prefill_tokens + report.decode_tokens));

    free(tokens);
    qwen_cache_free(cache);
    qwen_free(model);
    return 0;
}
