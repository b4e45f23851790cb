#ifndef STUB_PTHREAD_H
#define STUB_PTHREAD_H
#include <sys/types.h>
#include <time.h>
struct stub_thread {
    long signature;
    char opaque[64];
};
typedef struct stub_thread *pthread_t;
typedef struct stub_thread pthread_attr_t, pthread_mutex_t, pthread_cond_t, pthread_once_t;
typedef struct stub_thread pthread_mutexattr_t, pthread_condattr_t;
typedef unsigned long pthread_key_t;
#define PTHREAD_MUTEX_INITIALIZER \
    {                             \
        0x32AAABA7,               \
        {                         \
            0                     \
        }                         \
    }
#define PTHREAD_COND_INITIALIZER \
    {                            \
        0x3CB0B1BB,              \
        {                        \
            0                    \
        }                        \
    }
#define PTHREAD_ONCE_INIT \
    {                     \
        0x30B1BCBA,       \
        {                 \
            0             \
        }                 \
    }
int pthread_attr_init(pthread_attr_t *a), pthread_attr_destroy(pthread_attr_t *a);
int pthread_attr_getstacksize(const pthread_attr_t *a, size_t *size);
int pthread_attr_setstacksize(pthread_attr_t *a, size_t size);
int pthread_create(pthread_t *thread, const pthread_attr_t *a, void *(*start)(void *), void *argument);
int pthread_join(pthread_t thread, void **result);
pthread_t pthread_self(void);
int pthread_equal(pthread_t a, pthread_t b);
int pthread_once(pthread_once_t *once, void (*start)(void));
int pthread_mutex_init(pthread_mutex_t *m, const pthread_mutexattr_t *a), pthread_mutex_destroy(pthread_mutex_t *m);
int pthread_mutex_lock(pthread_mutex_t *m), pthread_mutex_unlock(pthread_mutex_t *m);
int pthread_cond_init(pthread_cond_t *c, const pthread_condattr_t *a), pthread_cond_destroy(pthread_cond_t *c);
int pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m);
int pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *until);
int pthread_cond_signal(pthread_cond_t *c), pthread_cond_broadcast(pthread_cond_t *c);
#endif
