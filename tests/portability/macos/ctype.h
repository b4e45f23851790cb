#ifndef STUB_CTYPE_H
#define STUB_CTYPE_H
int isalnum(int c), isalpha(int c), isdigit(int c), islower(int c), isprint(int c), isspace(int c), isupper(int c);
int isxdigit(int c), iscntrl(int c), isgraph(int c), ispunct(int c), tolower(int c), toupper(int c);
#endif
