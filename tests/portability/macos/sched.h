#ifndef STUB_SCHED_H
#define STUB_SCHED_H
typedef struct stub_cpu_set cpu_set_t; /* not macOS's: OpenBLAS's header, as made for Linux, has pointers to it */
int sched_yield(void);
#endif
