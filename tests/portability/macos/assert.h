#ifndef STUB_ASSERT_H
#define STUB_ASSERT_H
#define assert(true_here) ((void)(true_here))
#endif
