/* Packed codes to floats. */
#include "formats/elements/code_loops.h"
#include "formats/elements/decode.h"
#include "formats/models/packed/format.h"

#include <math.h>
#include <string.h>

/* 2^(e - 127); 255 is NaN. Source: OCP Microscaling Formats 1.0, section 5.4.1. */
static float
power_of_two(unsigned e)
{
    return e == 255 ? NAN : ldexpf(1.0f, (int)e - 127);
}

void
nb_packed_decode(enum nb_type type, const void *from, uint64_t count, float *out)
{
    const unsigned char *bytes = from;

    if (type != NB_F8_E8M0) {
        nb_decode(type, from, (size_t)count, out);
        return;
    }
    for (uint64_t i = 0; i < count; i++)
        out[i] = power_of_two(bytes[i]);
}

/* Any width: a code is in the 64 bits that begin with its first byte. */
static void
unpack_stream(const struct nb_codes *c, const unsigned char *units, uint64_t skip, uint64_t count, float *out)
{
    const unsigned mask = (1u << c->bits) - 1;

    for (uint64_t i = 0; i < count; i++) {
        const uint64_t bit = (skip + i) * c->bits;
        uint16_t two; /* no code of up to 8 bits reaches into a third byte */

        memcpy(&two, units + bit / 8, sizeof two);
        out[i] = (float)((int)((unsigned)two >> bit % 8 & mask) - c->minus);
    }
}

static void
unpack_nibbles(const struct nb_codes *c, const unsigned char *units, uint64_t skip, uint64_t count, float *out)
{
    static const uint32_t shift[] = { 0, 4, 8, 12, 16, 20, 24, 28 };
    uint64_t i = 0, words;

    units += skip / 2;
    if (skip % 2 != 0 && count > 0)
        out[i++] = (float)((int)(*units++ >> 4) - c->minus);
    words = (count - i) / 8;
    nb_code_loops()->of_nibbles(units, shift, c->minus, (size_t)words, out + i);
    i += words * 8;
    units += words * 4;
    for (uint64_t k = 0; i + k < count; k++)
        out[i + k] = (float)((int)(units[k / 2] >> k % 2 * 4 & 15) - c->minus);
}

static void
unpack_bytes(const struct nb_codes *c, const unsigned char *units, uint64_t skip, uint64_t count, float *out)
{
    for (uint64_t i = 0; i < count; i++)
        out[i] = (float)((int)units[skip + i] - c->minus);
}

struct nb_codes
nb_codes_stream(const struct nb_tensor *t, uint64_t row_bytes, unsigned bits, int minus)
{
    struct nb_codes c = { .tensor = t, .row_bytes = row_bytes, .bits = bits, .minus = minus };

    c.unit = bits == 4 ? 2 : bits == 8 ? 1 : 8;
    c.unit_bytes = c.unit * bits / 8;
    c.unpack = bits == 4 ? unpack_nibbles : bits == 8 ? unpack_bytes : unpack_stream;
    return c;
}

static void
unpack_words(const struct nb_codes *c, const unsigned char *units, uint64_t skip, uint64_t count, float *out)
{
    const unsigned mask = (1u << c->bits) - 1;
    uint32_t word = 0;

    units += skip / c->unit * sizeof word;
    skip %= c->unit;
    for (uint64_t i = 0; i < count; i++, skip++) {
        if (i == 0 || skip == c->unit) {
            units += i == 0 ? 0 : sizeof word;
            skip = i == 0 ? skip : 0;
            memcpy(&word, units, sizeof word);
        }
        out[i] = (float)((int)(word >> skip * c->bits & mask) - c->minus);
    }
}

struct nb_codes
nb_codes_words(const struct nb_tensor *t, uint64_t row_bytes, unsigned bits, int minus)
{
    if (32 % bits == 0)
        return nb_codes_stream(t, row_bytes, bits, minus);
    return (struct nb_codes){
        .tensor = t,
        .row_bytes = row_bytes,
        .bits = bits,
        .unit = 32 / bits,
        .unit_bytes = 4,
        .minus = minus,
        .unpack = unpack_words,
    };
}

static void
unpack_plain(const struct nb_codes *c, const unsigned char *units, uint64_t skip, uint64_t count, float *out)
{
    nb_decode(c->type, units + skip * c->unit_bytes, (size_t)count, out);
}

struct nb_codes
nb_codes_floats(const struct nb_tensor *t, uint64_t row_bytes, enum nb_type type)
{
    const unsigned each = nb_type_info(type)->block_bytes;

    return (struct nb_codes){
        .tensor = t,
        .row_bytes = row_bytes,
        .bits = 8 * each,
        .unit = 1,
        .unit_bytes = each,
        .type = type,
        .unpack = unpack_plain,
    };
}

struct nb_codes
nb_codes_plain(const struct nb_tensor *t, uint64_t row_bytes)
{
    return nb_codes_floats(t, row_bytes, t->type);
}

static void
unpack_table(const struct nb_codes *c, const unsigned char *units, uint64_t skip, uint64_t count, float *out)
{
    const unsigned first = c->minus != 0 ? 4 : 0; /* the shift of the first code in a byte */

    for (uint64_t i = 0; i < count; i++) {
        const uint64_t at = skip + i;

        out[i] = c->table[units[at / 2] >> (at % 2 == 0 ? first : 4 - first) & 15];
    }
}

struct nb_codes
nb_codes_nibbles(const struct nb_tensor *t, uint64_t row_bytes, const float table[16], bool first_high)
{
    return (struct nb_codes){
        .tensor = t,
        .row_bytes = row_bytes,
        .bits = 4,
        .unit = 2,
        .unit_bytes = 1,
        .minus = first_high,
        .table = table,
        .unpack = unpack_table,
    };
}

struct nb_codes
nb_codes_of_columns(const struct nb_tensor *t, unsigned bits, bool dense, int minus)
{
    return (
        struct nb_codes){ .tensor = t, .bits = bits, .unit = dense && 32 % bits != 0 ? 0 : 32 / bits, .minus = minus };
}

void
nb_codes_down(const struct nb_codes *c, const unsigned char *words, uint64_t width, uint64_t number, uint64_t count,
              float *out)
{
    const uint64_t bit = c->unit == 0 ? number * c->bits : number / c->unit * 32 + number % c->unit * c->bits;
    const unsigned shift = bit % 32, mask = (1u << c->bits) - 1;
    const unsigned char *at = words + bit / 32 * width * sizeof(uint32_t);
    const bool is_in_two = shift + c->bits > 32;

    if (!is_in_two)
        nb_code_loops()->of_words(at, shift, mask, c->minus, (size_t)count, out);
    for (uint64_t i = 0; is_in_two && i < count; i++) {
        uint32_t low, high;

        memcpy(&low, at + i * sizeof low, sizeof low);
        memcpy(&high, at + (width + i) * sizeof high, sizeof high);
        out[i] = (float)((int)((low >> shift | high << (32 - shift)) & mask) - c->minus);
    }
}

void
nb_packed_reorder(const unsigned char *codes, unsigned group, unsigned char *out)
{
    for (unsigned k = 0; k < group / 2; k++) {
        const unsigned shift = k % 2 * 4, low = codes[k / 2], high = codes[k / 2 + group / 4];

        out[k] = (unsigned char)((low >> shift & 15u) | (high >> shift & 15u) << 4);
    }
}
