#ifndef STUB_MATH_H
#define STUB_MATH_H
#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")
#define HUGE_VAL __builtin_inf()
#define M_PI 3.14159265358979323846
#define M_SQRT1_2 0.70710678118654752440
#define isnan(x) __builtin_isnan(x)
#define isinf(x) __builtin_isinf_sign(x)
#define isfinite(x) __builtin_isfinite(x)
#define signbit(x) __builtin_signbit(x)
typedef float float_t;
typedef double double_t;
/* a double function and its float twin */
#define STUB_OF_ONE(name)  \
    double name(double x); \
    float name##f(float x)
#define STUB_OF_TWO(name)            \
    double name(double x, double y); \
    float name##f(float x, float y)
STUB_OF_ONE(exp);
STUB_OF_ONE(exp2);
STUB_OF_ONE(expm1);
STUB_OF_ONE(log);
STUB_OF_ONE(log2);
STUB_OF_ONE(log10);
STUB_OF_ONE(log1p);
STUB_OF_ONE(sqrt);
STUB_OF_ONE(fabs);
STUB_OF_ONE(floor);
STUB_OF_ONE(ceil);
STUB_OF_ONE(round);
STUB_OF_ONE(trunc);
STUB_OF_ONE(rint);
STUB_OF_ONE(nearbyint);
STUB_OF_ONE(sin);
STUB_OF_ONE(cos);
STUB_OF_ONE(tan);
STUB_OF_ONE(tanh);
STUB_OF_ONE(erf);
STUB_OF_ONE(atan);
STUB_OF_TWO(pow);
STUB_OF_TWO(fmod);
STUB_OF_TWO(fmax);
STUB_OF_TWO(fmin);
STUB_OF_TWO(copysign);
STUB_OF_TWO(hypot);
STUB_OF_TWO(nextafter);
STUB_OF_TWO(atan2);
double ldexp(double x, int n), frexp(double x, int *n), modf(double x, double *whole);
float ldexpf(float x, int n), frexpf(float x, int *n);
long lrint(double x), lrintf(float x), lround(double x), lroundf(float x);
int ilogb(double x), ilogbf(float x);
#endif
