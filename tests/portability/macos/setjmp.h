#ifndef STUB_SETJMP_H
#define STUB_SETJMP_H
typedef int jmp_buf[48];
int setjmp(jmp_buf place);
void longjmp(jmp_buf place, int value);
#endif
