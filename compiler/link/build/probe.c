/* Needs of the C library what startup objects and generated code call, so that the stubs have it. */
#ifdef WHOLE
extern char memcpy[], memmove[], memset[], memcmp[], __libc_start_main[], __cxa_finalize[];
char *const qwenc_probe[] = {memcpy, memmove, memset, memcmp, __libc_start_main, __cxa_finalize};
#else
int main(void) { return 0; }
#endif
