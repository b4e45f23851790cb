#ifndef STUB_SYS_RESOURCE_H
#define STUB_SYS_RESOURCE_H
#include <sys/time.h>
struct rusage {
    struct timeval ru_utime, ru_stime;
    long ru_maxrss; /* bytes */
};
#define RUSAGE_SELF 0
typedef unsigned long long rlim_t;
struct rlimit {
    rlim_t rlim_cur, rlim_max;
};
#define RLIM_INFINITY (((rlim_t)1 << 63) - 1)
#define RLIMIT_CPU 0
#define RLIMIT_FSIZE 1
#define RLIMIT_AS 5
#define RLIMIT_NOFILE 8
int getrlimit(int which, struct rlimit *limit), setrlimit(int which, const struct rlimit *limit);
int getrusage(int whose, struct rusage *usage);
#endif
