/* The entry point of an executable whose kernels are for GPUs: hands bundle and identity to the runtime. */
extern const unsigned char qwenc_bundle[], qwenc_identity[];
extern const unsigned long qwenc_bundle_bytes;
int qwenc_main_cuda(int argc, char **argv, const unsigned char *bundle, unsigned long bundle_bytes,
                    const void *identity);

int main(int argc, char **argv) {
    return qwenc_main_cuda(argc, argv, qwenc_bundle, qwenc_bundle_bytes, qwenc_identity);
}
