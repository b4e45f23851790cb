#ifndef STUB_SYS_WAIT_H
#define STUB_SYS_WAIT_H
#include <sys/resource.h>
#include <sys/types.h>
#define WIFEXITED(status) (((status)&0177) == 0)
#define WEXITSTATUS(status) (((status) >> 8) & 0xFF)
#define WIFSIGNALED(status) (((status)&0177) != 0)
#define WTERMSIG(status) ((status)&0177)
#define WNOHANG 1
pid_t waitpid(pid_t process, int *status, int options);
pid_t wait4(pid_t process, int *status, int options, struct rusage *usage);
#endif
