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

#endif
