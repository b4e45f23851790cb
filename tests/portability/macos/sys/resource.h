#ifndef STUB_SYS_RESOURCE_H
#define STUB_SYS_RESOURCE_H
#include <sys/time.h>
struct rusage {
    struct timeval ru_utime, ru_stime;
    long ru_maxrss; /* bytes */
};
#define RUSAGE_SELF 0
int getrusage(int whose, struct rusage *usage);
#endif
