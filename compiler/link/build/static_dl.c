/* Dynamic loading in a static executable, which has none: in the place of the C library's own, which would look for shared
   libraries of the very version that it was built with. The one symbol that is looked up by name while the program runs is
   getrandom, by the Rust library of that name, which would open /dev/urandom without it. */
#include <string.h>
#include <sys/random.h>

void *dlopen(const char *file, int mode) {
    (void)file;
    (void)mode;
    return 0;
}

void *dlsym(void *handle, const char *name) {
    (void)handle;
    return strcmp(name, "getrandom") == 0 ? (void *)getrandom : 0;
}

int dlclose(void *handle) {
    (void)handle;
    return 0;
}

char *dlerror(void) { return (char *)"a static executable loads no libraries"; }
