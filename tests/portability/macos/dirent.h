#ifndef STUB_DIRENT_H
#define STUB_DIRENT_H
#include <sys/types.h>
typedef struct stub_dir DIR;
struct dirent {
    ino_t d_ino;
    unsigned char d_type;
    char d_name[1024];
};
#define DT_DIR 4
#define DT_REG 8
DIR *opendir(const char *name), *fdopendir(int fd);
void rewinddir(DIR *dir);
struct dirent *readdir(DIR *dir);
int closedir(DIR *dir);
int scandir(const char *name, struct dirent ***list, int (*select)(const struct dirent *),
            int (*compare)(const struct dirent **, const struct dirent **));
int alphasort(const struct dirent **a, const struct dirent **b);
#endif
