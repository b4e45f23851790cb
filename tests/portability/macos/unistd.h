#ifndef STUB_UNISTD_H
#define STUB_UNISTD_H
#include <sys/types.h>
#define STDIN_FILENO 0
#define STDOUT_FILENO 1
#define STDERR_FILENO 2
#define F_OK 0
#define X_OK 1
#define W_OK 2
#define R_OK 4
#define SEEK_SET 0
#define SEEK_CUR 1
#define SEEK_END 2
#define _SC_PAGESIZE 29
#define _SC_NPROCESSORS_ONLN 58
ssize_t read(int fd, void *to, size_t size), write(int fd, const void *from, size_t size);
ssize_t pread(int fd, void *to, size_t size, off_t at), pwrite(int fd, const void *from, size_t size, off_t at);
ssize_t readlink(const char *path, char *to, size_t size);
off_t lseek(int fd, off_t offset, int from);
int close(int fd), dup(int fd), dup2(int fd, int as), pipe(int fd[2]), isatty(int fd), fsync(int fd);
int ftruncate(int fd, off_t size), truncate(const char *path, off_t size);
int link(const char *from, const char *to), symlink(const char *from, const char *to), unlink(const char *path);
int unlinkat(int folder, const char *path, int flags);
int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags);
int access(const char *path, int mode), chdir(const char *path), rmdir(const char *path), usleep(useconds_t time);
char *getcwd(char *path, size_t size);
pid_t fork(void), getpid(void), getppid(void);
uid_t getuid(void), geteuid(void);
int execv(const char *path, char *const *argv), execl(const char *path, const char *first, ...);
int execvp(const char *file, char *const *argv), execlp(const char *file, const char *first, ...);
void _exit(int code) __attribute__((noreturn));
unsigned alarm(unsigned seconds), sleep(unsigned seconds);
long sysconf(int name);
#endif
