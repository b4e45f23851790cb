/* How long things take. */
#ifndef NB_CLOCK_H
#define NB_CLOCK_H

/* Seconds of a clock that is never set back; only differences mean something. */
double nb_seconds(void);

#endif
