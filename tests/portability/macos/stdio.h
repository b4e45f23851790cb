#ifndef STUB_STDIO_H
#define STUB_STDIO_H
#include <stdarg.h>
#include <sys/types.h>
typedef struct stub_file FILE;
typedef long long fpos_t;
extern FILE *__stdinp, *__stdoutp, *__stderrp;
#define stdin __stdinp
#define stdout __stdoutp
#define stderr __stderrp
#define EOF (-1)
#define BUFSIZ 1024
#define SEEK_SET 0
#define SEEK_CUR 1
#define SEEK_END 2
#define RENAME_SWAP 0x2
#define RENAME_EXCL 0x4
#define STUB_PRINTF(text, first) __attribute__((format(printf, text, first)))
int printf(const char *format, ...) STUB_PRINTF(1, 2);
int fprintf(FILE *f, const char *format, ...) STUB_PRINTF(2, 3);
int sprintf(char *to, const char *format, ...) STUB_PRINTF(2, 3);
int snprintf(char *to, size_t size, const char *format, ...) STUB_PRINTF(3, 4);
int dprintf(int fd, const char *format, ...) STUB_PRINTF(2, 3);
int vprintf(const char *format, va_list args) STUB_PRINTF(1, 0);
int vfprintf(FILE *f, const char *format, va_list args) STUB_PRINTF(2, 0);
int vsnprintf(char *to, size_t size, const char *format, va_list args) STUB_PRINTF(3, 0);
int sscanf(const char *text, const char *format, ...) __attribute__((format(scanf, 2, 3)));
FILE *fopen(const char *path, const char *mode), *fdopen(int fd, const char *mode);
FILE *freopen(const char *path, const char *mode, FILE *f), *tmpfile(void);
FILE *open_memstream(char **text, size_t *size);
FILE *popen(const char *command, const char *mode);
int pclose(FILE *f), fclose(FILE *f), fflush(FILE *f), ferror(FILE *f), feof(FILE *f), fileno(FILE *f);
size_t fread(void *to, size_t size, size_t count, FILE *f);
size_t fwrite(const void *from, size_t size, size_t count, FILE *f);
char *fgets(char *to, int size, FILE *f);
int fputs(const char *text, FILE *f), puts(const char *text), fputc(int c, FILE *f), putc(int c, FILE *f);
int putchar(int c), fgetc(FILE *f), getc(FILE *f), ungetc(int c, FILE *f);
int fseek(FILE *f, long offset, int from), fseeko(FILE *f, off_t offset, int from);
long ftell(FILE *f);
off_t ftello(FILE *f);
void rewind(FILE *f), perror(const char *what);
int remove(const char *path), rename(const char *from, const char *to);
int renamex_np(const char *from, const char *to, unsigned flags);
ssize_t getline(char **line, size_t *size, FILE *f);
#endif
