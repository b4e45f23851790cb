#ifndef STUB_COMPLEX_H
#define STUB_COMPLEX_H
#define complex _Complex
#endif
