/* The entry point of a library whose kernels are for GPUs. */
extern const unsigned char qwenc_bundle[], qwenc_identity[];
extern const unsigned long qwenc_bundle_bytes;
void *qwenc_load_cuda(const void *options, const unsigned char *bundle, unsigned long bundle_bytes,
                      const void *identity);

void *qwen_load(const void *options) {
    return qwenc_load_cuda(options, qwenc_bundle, qwenc_bundle_bytes, qwenc_identity);
}
