#ifndef STUB_ERRNO_H
#define STUB_ERRNO_H
int *__error(void);
#define errno (*__error())
enum {
    EPERM = 1,
    ENOENT = 2,
    EINTR = 4,
    EIO = 5,
    ENXIO = 6,
    ENOMEM = 12,
    EACCES = 13,
    EEXIST = 17,
    ENOTDIR = 20,
    EISDIR = 21,
    EINVAL = 22,
    ENFILE = 23,
    EMFILE = 24,
    ETXTBSY = 26,
    EFBIG = 27,
    ENOSPC = 28,
    EROFS = 30,
    EPIPE = 32,
    ERANGE = 34,
    EAGAIN = 35,
    ETIMEDOUT = 60,
    ELOOP = 62,
    ENOTEMPTY = 66,
    EWOULDBLOCK = 35,
    ENOTSUP = 45,
    EDQUOT = 69,
    ESTALE = 70,
    ENOSYS = 78,
    EOPNOTSUPP = 102
};
#endif
