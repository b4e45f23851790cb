#ifndef STUB_SYS_STAT_H
#define STUB_SYS_STAT_H
#include <sys/types.h>
#include <time.h>
struct stat {
    dev_t st_dev;
    mode_t st_mode;
    nlink_t st_nlink;
    ino_t st_ino;
    uid_t st_uid;
    gid_t st_gid;
    struct timespec st_atimespec, st_mtimespec, st_ctimespec;
    off_t st_size;
    blkcnt_t st_blocks;
    blksize_t st_blksize;
};
#define S_IFMT 0170000
#define S_ISREG(mode) (((mode)&S_IFMT) == 0100000)
#define S_ISDIR(mode) (((mode)&S_IFMT) == 0040000)
#define S_ISLNK(mode) (((mode)&S_IFMT) == 0120000)
int fstatat(int folder, const char *path, struct stat *st, int flags);
int stat(const char *path, struct stat *st), lstat(const char *path, struct stat *st), fstat(int fd, struct stat *st);
int chmod(const char *path, mode_t mode), fchmod(int fd, mode_t mode), mkdir(const char *path, mode_t mode);
int mkfifo(const char *path, mode_t mode);
mode_t umask(mode_t mask);
#endif
