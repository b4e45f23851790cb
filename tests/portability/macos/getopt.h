#ifndef STUB_GETOPT_H
#define STUB_GETOPT_H
struct option {
    const char *name;
    int has_arg, *flag, val;
};
#define no_argument 0
#define required_argument 1
#define optional_argument 2
extern char *optarg;
extern int optind, opterr, optopt;
int getopt_long(int argc, char *const *argv, const char *letters, const struct option *options, int *index);
#endif
