#ifndef STUB_SYS_IOCTL_H
#define STUB_SYS_IOCTL_H
struct winsize {
    unsigned short ws_row, ws_col, ws_xpixel, ws_ypixel;
};
#define TIOCGWINSZ 0x40087468ul
#define TIOCSWINSZ 0x80087467ul
int ioctl(int, unsigned long, ...);
#endif
