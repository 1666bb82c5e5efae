/* The entry point of an executable whose kernels are for GPUs: hands bundle and identity to the runtime's function RUN. */
extern const unsigned char qwenc_bundle[], qwenc_identity[];
extern const unsigned long qwenc_bundle_bytes;
int RUN(int argc, char **argv, const unsigned char *bundle, unsigned long bundle_bytes, const void *identity);

int main(int argc, char **argv) {
    return RUN(argc, argv, qwenc_bundle, qwenc_bundle_bytes, qwenc_identity);
}
