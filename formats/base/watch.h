/* How long work tells how far it is, and hears that it should stop. */
#ifndef NB_WATCH_H
#define NB_WATCH_H

#include <signal.h>
#include <stdint.h>

struct nb_watch {
    /* Called some times a second from the calling thread, with bytes; may be NULL. */
    void (*progress)(void *context, uint64_t done, uint64_t total);
    void *context;
    const volatile sig_atomic_t *stop; /* not zero asks for a stop: NB_INTERRUPTED; may be NULL */
};

/* The same for work of several steps. */
struct nb_step_watch {
    /* About ten times a second, from the calling thread: the step, and the share (0 to 1) of it that is done. May be NULL. */
    void (*progress)(void *context, const char *step, double share);
    void (*note)(void *context, const char *sentence); /* what the user should know; may be NULL */
    void *context;                                     /* of both */
    const volatile sig_atomic_t *stop;                 /* as above */
};

#endif
