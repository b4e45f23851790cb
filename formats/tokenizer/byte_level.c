#include "formats/tokenizer/byte_level.h"

/*
 * The bytes that do not represent themselves, in order: 0 to 0x20, 0x7F to 0xA0 and 0xAD. Their
 * characters are consecutive from U+0100.
 */
#define SECOND_RUN 0x21u /* number of these bytes before 0x7F */
#define LAST 0x43u       /* number of these bytes before 0xAD */

uint32_t
nb_byte_level_character(unsigned char byte)
{
    if (byte <= 0x20)
        return 0x100u + byte;
    if (byte >= 0x7F && byte <= 0xA0)
        return 0x100u + SECOND_RUN + byte - 0x7Fu;
    return byte == 0xAD ? 0x100u + LAST : byte;
}

/* The byte for CHARACTER, or -1. */
static int
byte_of(uint32_t character)
{
    const uint32_t k = character - 0x100;

    if (character < 0x100)
        return nb_byte_level_character((unsigned char)character) == character ? (int)character : -1;
    if (k < SECOND_RUN)
        return (int)k;
    if (k < LAST)
        return (int)(k - SECOND_RUN + 0x7F);
    return k == LAST ? 0xAD : -1;
}

bool
nb_byte_level_decode(const char *text, size_t length, char *out, size_t *out_length)
{
    size_t n = 0;

    for (size_t i = 0; i < length;) {
        uint32_t character = (unsigned char)text[i++];
        int byte;

        if (character >= 0x80) { /* the alphabet ends below U+0800: two bytes */
            if ((character & 0xE0) != 0xC0 || i >= length || ((unsigned char)text[i] & 0xC0) != 0x80)
                return false;
            character = (character & 0x1F) << 6 | ((unsigned char)text[i++] & 0x3F);
        }
        byte = byte_of(character);
        if (byte < 0)
            return false;
        out[n++] = (char)byte;
    }
    *out_length = n;
    return true;
}
