#ifndef STUB_TIME_H
#define STUB_TIME_H
#include <sys/types.h>
struct timespec {
    time_t tv_sec;
    long tv_nsec;
};
struct tm {
    int tm_sec, tm_min, tm_hour, tm_mday, tm_mon, tm_year, tm_wday, tm_yday, tm_isdst;
};
typedef enum { CLOCK_REALTIME = 0, CLOCK_MONOTONIC = 6, CLOCK_THREAD_CPUTIME_ID = 16 } clockid_t;
#define CLOCK_REALTIME CLOCK_REALTIME
#define CLOCK_MONOTONIC CLOCK_MONOTONIC
#define CLOCK_THREAD_CPUTIME_ID CLOCK_THREAD_CPUTIME_ID
int clock_gettime(clockid_t clock, struct timespec *now);
int nanosleep(const struct timespec *time, struct timespec *left);
time_t time(time_t *now);
struct tm *gmtime_r(const time_t *time, struct tm *tm), *localtime_r(const time_t *time, struct tm *tm);
size_t strftime(char *to, size_t size, const char *format, const struct tm *tm);
#endif
