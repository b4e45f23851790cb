#ifndef STUB_SYS_SOCKET_H
#define STUB_SYS_SOCKET_H
#define AF_UNIX 1
#define AF_INET 2
#define SOCK_STREAM 1
int socket(int domain, int type, int protocol);
#endif
