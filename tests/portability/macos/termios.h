#ifndef STUB_TERMIOS_H
#define STUB_TERMIOS_H
typedef unsigned long tcflag_t, speed_t;
typedef unsigned char cc_t;
struct termios {
    tcflag_t c_iflag, c_oflag, c_cflag, c_lflag;
    cc_t c_cc[20];
    speed_t c_ispeed, c_ospeed;
};
#define OPOST 0x1ul
#define TCSANOW 0
int tcgetattr(int fd, struct termios *mode), tcsetattr(int fd, int when, const struct termios *mode);
#endif
