/*
 * The journal of an interrupted edit. The input is flags, an offset, a length and so many bytes, which are what the
 * edit had written of a new header, and then bytes that change the journal of that edit or, by a flag, are one. After
 * the recovery the model is what it was, or what it was before the edit.
 */
#include "fuzz.h"

#include "formats/base/file_in.h"
#include "formats/base/status.h"
#include "formats/gguf/edit.h"
#include "formats/gguf/gguf.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#define MAGIC "nbundo2"
#define HEAD (sizeof MAGIC + 8 * 7)
enum { WHOLE = 1, SEALED = 2 }; /* the bytes are the journal; its seal and the file that it names are made right */

static unsigned char *good; /* the model before the edit */
static uint64_t good_size;

static void
put_u64(unsigned char *to, uint64_t value)
{
    for (unsigned i = 0; i < 8; i++)
        to[i] = (unsigned char)(value >> (8 * i));
}

static bool
make_model(void)
{
    struct nb_metadata meta = { 0 };

    nb_meta_set_string(&meta, "general.architecture", "llama");
    nb_meta_set_string(&meta, "general.name", "a name that an edit changes");
    if (good == NULL &&
        (nb_meta_status(&meta, NULL) != NB_OK || nb_gguf_header(&meta, NULL, 0, &good, &good_size, NULL) != NB_OK))
        good = NULL;
    nb_meta_free(&meta);
    return good != NULL;
}

static uint64_t
inode_of(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? (uint64_t)st.st_ino : 0;
}

/* Writes the journal; TORN is the model as the edit left it. */
static void
put_journal(const char *path, uint8_t flags, size_t offset, size_t n, const uint8_t *bytes, size_t size)
{
    unsigned char all[1024] = MAGIC;
    size_t length = HEAD + n + 8;
    const uint64_t numbers[] = { inode_of(path), good_size, good_size, XXH64(good, good_size, 0), 1, offset, n };

    for (size_t i = 0; i < 7; i++)
        put_u64(all + sizeof MAGIC + 8 * i, numbers[i]);
    memcpy(all + HEAD, good + offset, n);
    if (flags & WHOLE)
        memcpy(all, bytes, length = size < sizeof all ? size : sizeof all);
    else
        for (size_t i = 0; i < size && i < length; i++)
            all[i] ^= bytes[i];
    if ((flags & SEALED) && length >= HEAD + 8) {
        put_u64(all + sizeof MAGIC, inode_of(path));
        put_u64(all + sizeof MAGIC + 8, good_size);
        put_u64(all + length - 8, XXH64(all, length - 8, 0));
    }
    fuzz_put("j.gguf.undo", all, length);
}

void
fuzz_target(const uint8_t *data, size_t size)
{
    unsigned char torn[512], after[512];
    char path[1024];
    struct nb_file_in file;
    size_t offset, n;
    bool recovered;

    snprintf(path, sizeof path, "%s/j.gguf", fuzz_checkpoint());
    if (size < 3 || !make_model() || good_size > sizeof torn)
        return;
    offset = data[1] % good_size;
    n = data[2] < good_size - offset ? data[2] : good_size - offset;
    n = n < size - 3 ? n : size - 3;
    memcpy(torn, good, good_size);
    memcpy(torn + offset, data + 3, n);
    fuzz_put("j.gguf", torn, good_size);
    put_journal(path, data[0], offset, n, data + 3 + n, size - 3 - n);
    if (nb_file_open_to_change(&file, path, NULL) == NB_OK) {
        const enum nb_status status = nb_edit_recover(&file, &recovered, NULL);

        fuzz_claim(nb_file_read(&file, 0, after, good_size, NULL) == NB_OK, "the model keeps its size");
        fuzz_claim(memcmp(after, good, good_size) == 0 || memcmp(after, torn, good_size) == 0,
                   "the model is what it was, or what it was before the edit");
        fuzz_claim(status != NB_OK || !recovered || memcmp(after, good, good_size) == 0, "what is recovered is whole");
        nb_file_close(&file);
    }
    fuzz_drop("j.gguf.undo");
}
