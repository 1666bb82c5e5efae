/* A compiled language model as a library: what libqwen.so offers to C and C++.
 *
 * qwenc compile --emit lib MODEL -o libqwen.so      writes the library, and this file beside it
 * cc -std=c11 program.c -L. -lqwen -Wl,-rpath,. -o program
 *
 * Functions that return a handle give NULL, and functions that return a number give a negative qwen_status, when they
 * fail; qwen_last_error() then says why, for this thread. Handles and everything else may be used from several threads
 * at once; see docs/c-api.md. Structs that begin with `size` are to be initialised with their QWEN_..._INIT.
 */
#ifndef QWEN_H
#define QWEN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Raised when a program made for this header would not work with an older library. */
#define QWEN_API_VERSION 1

/* What failing functions return. */
typedef enum qwen_status {
    QWEN_OK = 0,
    QWEN_BAD_ARGUMENT = -1, /* null where there must be something, or a value out of range */
    QWEN_FAILED = -2,       /* the model, its files or the machine */
    QWEN_CONTEXT_FULL = -3, /* more tokens than a cache holds; nothing has changed */
    QWEN_INTERNAL = -4      /* a bug in the library; free the model, which does nothing any more */
} qwen_status;

/* What caches store. */
typedef enum qwen_kv_type { QWEN_KV_DEFAULT = 0, QWEN_KV_F32 = 1, QWEN_KV_BF16 = 2, QWEN_KV_INT8 = 3 } qwen_kv_type;

/* A loaded model: weights, tokenizer, threads or GPU. */
typedef struct qwen_model qwen_model;
/* A sequence of tokens and its KV cache. It keeps its model alive. */
typedef struct qwen_cache qwen_cache;

/* How to load. Zero is the default of every field. */
typedef struct qwen_options {
    size_t size;         /* sizeof(qwen_options) */
    const char *weights; /* file of weights instead of those in or beside the library */
    uint32_t threads;    /* CPU: threads; default: physical cores */
    uint32_t device;     /* GPU: its number */
    uint32_t context;    /* longest sequence in tokens; default: the model's */
    uint32_t chunk;      /* most tokens in one step; default: 512 */
    uint32_t batch;      /* GPU: requests in one step, and caches, to reserve memory for; default: 16 */
    int32_t kv_type;     /* a qwen_kv_type */
} qwen_options;
#define QWEN_OPTIONS_INIT { sizeof(qwen_options), NULL, 0, 0, 0, 0, 0, 0 }

/* What a model is. Texts and stop_tokens live as long as the model. */
typedef struct qwen_info {
    size_t size;             /* sizeof(qwen_info) */
    const char *name;
    const char *architecture;
    const char *weight_type; /* f32, bf16, int8 or int4 */
    uint64_t parameters;
    uint32_t layers;
    uint32_t hidden;
    uint32_t intermediate;
    uint32_t heads;
    uint32_t kv_heads;
    uint32_t head_dim;
    uint32_t context;        /* tokens that a cache holds */
    uint32_t max_context;    /* tokens that the model can handle */
    uint32_t vocab;          /* floats in a row of logits; token ids are below */
    uint32_t tokens;         /* tokens that the tokenizer knows; 0 without one */
    int32_t kv_type;         /* a qwen_kv_type; never QWEN_KV_DEFAULT */
    uint32_t stop_count;
    double rms_eps;
    double rope_theta;
    const uint32_t *stop_tokens; /* [stop_count] */
} qwen_info;
#define QWEN_INFO_INIT \
    { sizeof(qwen_info), NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.0, 0.0, NULL }

/* The version of the library's interface, and that of the compiler that made it. */
uint32_t qwen_api_version(void);
const char *qwen_version(void);
/* Why the last failing call of this thread failed; never NULL. Valid until this thread's next call fails. */
const char *qwen_last_error(void);
/* The qwen_status of that call; QWEN_OK if none failed. */
int32_t qwen_last_status(void);

/* Loads the model of this library; `options` may be NULL. */
qwen_model *qwen_load(const qwen_options *options);
/* Frees a model, or does nothing for NULL. Its caches stay usable and must be freed too. */
void qwen_free(qwen_model *model);
int32_t qwen_model_info(const qwen_model *model, qwen_info *info);

/* The functions that fill an array return how much there is, also where that is more than `capacity`; then only as
 * much as fits is written. With a capacity of 0 the array may be NULL. */

/* The tokens of `bytes` bytes of UTF-8. With `controls` not 0, names of control tokens are those tokens: only for a
 * text of the program's own, never for what a user wrote. */
int64_t qwen_tokenize(const qwen_model *model, const char *text, size_t bytes, int32_t controls, uint32_t *tokens,
                      size_t capacity);
/* The bytes of tokens, without a NUL at the end. Control tokens have none; a character may begin or end within. */
int64_t qwen_detokenize(const qwen_model *model, const uint32_t *tokens, size_t count, char *text, size_t capacity);

/* One message of a conversation. */
typedef struct qwen_message {
    const char *role; /* system, user, assistant, tool */
    const char *content;
} qwen_message;

/* A conversation: messages, or the same as JSON for all that templates know. */
typedef struct qwen_chat {
    size_t size;                  /* sizeof(qwen_chat) */
    const qwen_message *messages; /* [count] */
    size_t count;
    const char *messages_json;    /* an array of objects, instead of `messages`; or NULL */
    const char *tools_json;       /* an array of tools; or NULL */
    int32_t thinking;             /* 1: ask the template for it; -1: ask for none; 0: say nothing */
} qwen_chat;
#define QWEN_CHAT_INIT { sizeof(qwen_chat), NULL, 0, NULL, NULL, 0 }

/* The conversation as the model's chat template writes it, up to where the answer begins. No NUL at the end. */
int64_t qwen_apply_template(const qwen_model *model, const qwen_chat *chat, char *text, size_t capacity);
/* The same as tokens, so that what users wrote never becomes a control token. */
int64_t qwen_chat_tokens(const qwen_model *model, const qwen_chat *chat, uint32_t *tokens, size_t capacity);

/* An empty cache. */
qwen_cache *qwen_cache_new(qwen_model *model);
/* A cache with the first `length` tokens of another, which stays as it is. */
qwen_cache *qwen_cache_duplicate(const qwen_cache *cache, size_t length);
void qwen_cache_free(qwen_cache *cache);
/* The number of tokens in it. */
int64_t qwen_cache_length(const qwen_cache *cache);
/* The tokens in it. */
int64_t qwen_cache_tokens(const qwen_cache *cache, uint32_t *tokens, size_t capacity);
/* Forgets all tokens from position `length` on. */
int32_t qwen_cache_truncate(qwen_cache *cache, size_t length);
/* Forgets all that is not the beginning of `tokens`, and the last of these too: returns how many it still has, which
 * need not be fed again. */
int64_t qwen_cache_reuse(qwen_cache *cache, const uint32_t *tokens, size_t count);

/* How to choose a token. All zero takes the likeliest one. */
typedef struct qwen_sampling {
    float temperature; /* 0: the likeliest token */
    uint32_t top_k;    /* from the k likeliest; 0: from all */
    float top_p;       /* from the likeliest that together have this probability; 1: from all */
    float min_p;       /* from those at least this likely relative to the likeliest; 0: from all */
    uint64_t seed;     /* makes it repeatable */
    uint64_t draw;     /* which of the seed's random numbers: 0 for the first token of an answer, then 1, 2 ... */
} qwen_sampling;
#define QWEN_SAMPLING_INIT { 0.0f, 0, 1.0f, 0.0f, 0, 0 }

/* `position` of a request that goes on where its cache ends. */
#define QWEN_AT_END SIZE_MAX

/* One of several sequences that take a step together. */
typedef struct qwen_request {
    qwen_cache *cache;      /* of this model; no other request's */
    const uint32_t *tokens; /* [count] */
    size_t count;           /* at least 1 */
    size_t position;        /* where tokens[0] stands: what the cache holds from there on is forgotten */
    qwen_sampling sampling;
} qwen_request;

/* Feeds each request's tokens to its cache; next[i] is the token that comes after those of requests[i]. What a request
 * gets does not depend on the others. */
int32_t qwen_infer_batch(qwen_model *model, const qwen_request *requests, size_t count, uint32_t *next);
/* The same, but gives the logits after each request's last token: `logits` is [count, vocab] floats. */
int32_t qwen_logits_batch(qwen_model *model, const qwen_request *requests, size_t count, float *logits);

/* The token of a call that only hands over the rest of a text. */
#define QWEN_NO_TOKEN UINT32_MAX

/* Gets every token of an answer, and the text that is certain since the last call: `bytes` bytes of whole UTF-8
 * characters, without a NUL. Anything but 0 ends the answer. It may call no function that feeds or changes a cache of the
 * same model. */
typedef int32_t (*qwen_on_token)(void *user, uint32_t token, const char *text, size_t bytes);

/* How to generate. */
typedef struct qwen_generation {
    size_t size;            /* sizeof(qwen_generation) */
    qwen_sampling sampling;
    uint32_t max_tokens;    /* 0: until the context is full */
    int32_t ignore_stop;    /* not 0: goes on after a stop token */
} qwen_generation;
#define QWEN_GENERATION_INIT { sizeof(qwen_generation), QWEN_SAMPLING_INIT, 0, 0 }

/* Why an answer ended. */
typedef enum qwen_ending {
    QWEN_STOP_TOKEN = 0,
    QWEN_MAX_TOKENS = 1,
    QWEN_FULL = 2,       /* the cache */
    QWEN_INTERRUPTED = 3 /* by the callback */
} qwen_ending;

/* What happened. */
typedef struct qwen_report {
    size_t size;            /* sizeof(qwen_report) */
    int32_t ending;         /* a qwen_ending */
    uint32_t generated;     /* tokens of the answer, with the one that stopped it */
    uint64_t prefill_tokens;
    double prefill_seconds;
    uint64_t decode_tokens;
    double decode_seconds;
} qwen_report;
#define QWEN_REPORT_INIT { sizeof(qwen_report), 0, 0, 0, 0.0, 0, 0.0 }

/* Feeds `tokens` at the cache's end and continues them, token by token. The cache then holds what was fed: all of the
 * answer but its last token. `how`, `on_token` and `report` may be NULL. */
int32_t qwen_generate(qwen_model *model, qwen_cache *cache, const uint32_t *tokens, size_t count,
                      const qwen_generation *how, qwen_on_token on_token, void *user, qwen_report *report);

#ifdef __cplusplus
}
#endif

#endif
