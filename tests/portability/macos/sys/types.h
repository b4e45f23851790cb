#ifndef STUB_SYS_TYPES_H
#define STUB_SYS_TYPES_H
typedef long ssize_t;
typedef long long off_t, blkcnt_t;
typedef unsigned long long ino_t;
typedef int pid_t, dev_t, blksize_t;
typedef unsigned uid_t, gid_t;
typedef unsigned short mode_t, nlink_t;
typedef long time_t;
typedef unsigned long clock_t;
typedef unsigned useconds_t;
typedef int suseconds_t;
#include <stddef.h>
#endif
