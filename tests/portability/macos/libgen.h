#ifndef STUB_LIBGEN_H
#define STUB_LIBGEN_H
char *basename(char *path), *dirname(char *path);
#endif
