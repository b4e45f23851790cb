#include "verify/tokenize/repair_utf8.h"

#include "formats/base/checked.h"

#include <stdint.h>
#include <stdlib.h>
#include <utf8proc.h>

#define REPLACEMENT 0xFFFDu
#define STAND_IN 0xE000u /* in no character class that pre-tokenizers use */

/*
 * The first character of TEXT; *LENGTH is its number of bytes. Like llama.cpp's
 * decoder, this checks the number of following bytes but not their values.
 */
static uint32_t
decode(const unsigned char *text, size_t room, size_t *length)
{
    static const unsigned char masks[] = { 0x7F, 0x1F, 0x0F, 0x07 };
    const unsigned char first = *text;
    const size_t more = first < 0x80   ? 0
                        : first < 0xC0 ? 4
                        : first < 0xE0 ? 1
                        : first < 0xF0 ? 2
                        : first < 0xF8 ? 3
                                       : 4;
    uint32_t c;

    *length = 1;
    if (more == 4 || more >= room)
        return REPLACEMENT;
    c = *text & masks[more];
    for (size_t i = 1; i <= more; i++) {
        if ((text[i] & 0xC0) != 0x80)
            return REPLACEMENT;
        c = c << 6 | (text[i] & 0x3F);
    }
    *length = more + 1;
    return c > 0x10FFFF ? REPLACEMENT : c;
}

bool
nb_repair_utf8(const char *text, size_t length, char **clean, char **seen, size_t *out)
{
    utf8proc_uint8_t *a = nb_malloc(3 * (uint64_t)length + 1), *b = nb_malloc(3 * (uint64_t)length + 1);
    size_t n = 0;

    *clean = (char *)a;
    *seen = (char *)b;
    if (a == NULL || b == NULL) {
        free(a);
        free(b);
        return false;
    }
    for (size_t at = 0, used; at < length; at += used) {
        const uint32_t c = decode((const unsigned char *)text + at, length - at, &used);
        const bool surrogate = c >= 0xD800 && c <= 0xDFFF;
        const size_t size = (size_t)utf8proc_encode_char((utf8proc_int32_t)(surrogate ? STAND_IN : c), b + n);

        for (size_t i = 0; i < size; i++)
            a[n + i] = surrogate ? (utf8proc_uint8_t)text[at + i] : b[n + i];
        n += size;
    }
    *out = n;
    return true;
}
