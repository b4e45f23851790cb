#ifndef STUB_SIGNAL_H
#define STUB_SIGNAL_H
#include <sys/types.h>
typedef int sig_atomic_t;
typedef unsigned sigset_t;
struct sigaction {
    void (*sa_handler)(int);
    sigset_t sa_mask;
    int sa_flags;
};
#define SIGHUP 1
#define SIGINT 2
#define SIGABRT 6
#define SIGKILL 9
#define SIGPIPE 13
#define SIGTERM 15
#define SIGXFSZ 25
#define SIG_DFL ((void (*)(int))0)
#define SIG_IGN ((void (*)(int))1)
#define SA_RESTART 0x2
#define SA_RESETHAND 0x4
int sigaction(int number, const struct sigaction *action, struct sigaction *old);
int sigemptyset(sigset_t *set), kill(pid_t process, int number), raise(int number);
void (*signal(int number, void (*handler)(int)))(int);
#endif
