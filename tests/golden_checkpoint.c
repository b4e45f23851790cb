#include "golden_checkpoint.h"

#include "formats/base/text.h"
#include "formats/elements/halves.h"
#include "scratch.h"
#include "splitmix.h"
#include "testing.h"

#include <dirent.h>
#include <inttypes.h>
#include <unistd.h>
#include <xxhash.h>
#include <zlib.h>

#define TOKENIZERS TEST_DATA "/golden/families/tokenizers"

static char *
unzipped(const char *path, size_t *length)
{
    gzFile f = gzopen(path, "rb");
    size_t room = 1 << 22;
    char *text = malloc(room);
    int n;

    assert_non_null(text);
    if (f == NULL)
        fail_msg("%s is missing", path);
    n = gzread(f, text, (unsigned)room);
    if (n < 0 || (size_t)n == room)
        fail_msg("%s cannot be read, or is too large", path);
    gzclose(f);
    *length = (size_t)n;
    return text;
}

json_t *
golden_read(const char *path)
{
    size_t length;
    char *text = unzipped(path, &length);
    json_error_t error;
    json_t *golden = json_loadb(text, length, 0, &error);

    free(text);
    if (golden == NULL)
        fail_msg("%s: %s", path, error.text);
    return golden;
}

json_t *
golden_by_name(const char *name)
{
    char path[SCRATCH_PATH];

    snprintf(path, sizeof path, TEST_DATA "/golden/runs/%s.json.gz", name);
    if (access(path, R_OK) != 0)
        snprintf(path, sizeof path, TEST_DATA "/golden/families/%s.json.gz", name);
    return golden_read(path);
}

bool
golden_is_wanted(char *const *only, const char *name)
{
    for (char *const *o = only; *o != NULL; o++)
        if (strcmp(*o, name) == 0)
            return true;
    return *only == NULL;
}

void
golden_each(const char *folder, char *const *only, void (*visit)(const char *name))
{
    static const char ending[] = ".json.gz";
    struct dirent **entries;
    const int n = scandir(folder, &entries, NULL, alphasort);
    size_t visited = 0;

    assert_true(n > 0);
    for (int i = 0; i < n; i++) {
        char name[256];

        snprintf(name, sizeof name, "%s", entries[i]->d_name);
        if (nb_ends_with(name, ending)) {
            name[strlen(name) - strlen(ending)] = '\0';
            if (golden_is_wanted(only, name)) {
                visit(name);
                visited++;
            }
        }
        free(entries[i]);
    }
    free(entries);
    assert_true(visited > 0);
}

/* --- values --------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    size_t size;
} dtypes[] = { { "F32", 4 }, { "F16", 2 },     { "BF16", 2 },    { "U8", 1 }, { "I8", 1 },
               { "I32", 4 }, { "F8_E4M3", 1 }, { "F8_E8M0", 1 }, { "I64", 8 } };

static size_t
size_of(const char *dtype)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++)
        if (strcmp(dtypes[i].name, dtype) == 0)
            return dtypes[i].size;
    fail_msg("dtype %s", dtype);
    return 0;
}

/* Element I, of which Z are the random bits, as INIT says. */
static double
value_of(json_t *init, size_t i, uint64_t z)
{
    const char *kind = json_string_value(json_array_get(init, 0));
    json_t *first = json_array_get(init, 1);
    const double a = json_number_value(first), b = json_number_value(json_array_get(init, 2));

    if (strcmp(kind, "uniform") == 0)
        return ((double)(z >> 40) / 8388608.0 - 1.0) * b + a;
    if (strcmp(kind, "int") == 0)
        return a + (double)((z >> 32) % (uint64_t)(b - a + 1));
    if (strcmp(kind, "list") == 0)
        return json_number_value(json_array_get(first, i));
    return (double)((z >> 56 & 0x7F) == 0x7F ? (z >> 56) ^ 1 : z >> 56); /* "f8": any byte that is no NaN */
}

static void
put_value(unsigned char *to, const char *dtype, double value)
{
    const int64_t whole = (int64_t)value;
    const float real = (float)value;
    const uint16_t half = *dtype == 'B' ? nb_f32_to_bf16(real) : nb_f32_to_f16(real);

    if (strcmp(dtype, "F32") == 0)
        memcpy(to, &real, 4);
    else if (strcmp(dtype, "F16") == 0 || *dtype == 'B')
        memcpy(to, &half, 2);
    else
        memcpy(to, &whole, size_of(dtype)); /* little-endian */
}

/* The bytes of TENSOR, from malloc. */
static unsigned char *
bytes_of(json_t *tensor, size_t *size)
{
    const char *name = json_string_value(json_object_get(tensor, "name"));
    const char *dtype = json_string_value(json_object_get(tensor, "dtype"));
    uint64_t state = XXH64(name, strlen(name), 0);
    unsigned char *bytes;
    char hash[17];
    size_t n = 1, d;
    json_t *side;

    json_array_foreach(json_object_get(tensor, "shape"), d, side)
        n *= (size_t)json_integer_value(side);
    *size = n * size_of(dtype);
    bytes = malloc(*size + 8);
    assert_non_null(bytes);
    for (size_t i = 0; i < n; i++)
        put_value(bytes + i * size_of(dtype), dtype, value_of(json_object_get(tensor, "init"), i, splitmix(&state)));
    snprintf(hash, sizeof hash, "%016" PRIx64, XXH64(bytes, *size, 0));
    if (json_object_get(tensor, "xxh64") != NULL) /* unless a test has changed the tensor */
        assert_string_equal(hash, json_string_value(json_object_get(tensor, "xxh64")));
    return bytes;
}

/* --- files ---------------------------------------------------------------------------------------------------- */

static void
write_json(const char *folder, const char *name, json_t *value)
{
    char path[SCRATCH_PATH], *text;

    if (value == NULL || json_is_null(value))
        return;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    text = json_dumps(value, JSON_INDENT(1));
    assert_non_null(text);
    scratch_write_text(path, text);
    free(text);
}

/* Writes the tensors of SHARD as FOLDER/NAME, and their places to WEIGHT_MAP. */
static void
write_shard(json_t *golden, json_int_t shard, const char *folder, const char *name, json_t *weight_map)
{
    json_t *header = json_object(), *tensor;
    unsigned char *data = NULL, *file;
    char path[SCRATCH_PATH], *text;
    size_t at = 0, i, length;

    json_array_foreach(json_object_get(golden, "tensors"), i, tensor) {
        const char *own = json_string_value(json_object_get(tensor, "name"));
        unsigned char *bytes;
        size_t size;

        if (json_integer_value(json_object_get(tensor, "shard")) != shard)
            continue;
        bytes = bytes_of(tensor, &size);
        data = realloc(data, at + size + 1);
        assert_non_null(data);
        memcpy(data + at, bytes, size);
        free(bytes);
        json_object_set_new(header, own,
                            json_pack("{s:O, s:O, s:[I, I]}", "dtype", json_object_get(tensor, "dtype"), "shape",
                                      json_object_get(tensor, "shape"), "data_offsets", (json_int_t)at,
                                      (json_int_t)(at + size)));
        json_object_set_new(weight_map, own, json_string(name));
        at += size;
    }
    text = json_dumps(header, JSON_COMPACT | JSON_PRESERVE_ORDER);
    length = strlen(text);
    file = malloc(8 + length + at);
    assert_non_null(file);
    memcpy(file, &(uint64_t){ length }, 8);
    memcpy(file + 8, text, length);
    memcpy(file + 8 + length, data, at);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    scratch_write(path, file, 8 + length + at);
    free(file);
    free(text);
    free(data);
    json_decref(header);
}

static void
write_weights(json_t *golden, const char *folder)
{
    json_t *weight_map = json_object(), *tensor, *index;
    json_int_t last = 0;
    size_t i;

    json_array_foreach(json_object_get(golden, "tensors"), i, tensor)
        if (json_integer_value(json_object_get(tensor, "shard")) > last)
            last = json_integer_value(json_object_get(tensor, "shard"));
    for (json_int_t shard = 0; shard <= last; shard++) {
        char name[64] = "model.safetensors";

        if (last > 0)
            snprintf(name, sizeof name, "model-%05d-of-%05d.safetensors", (int)shard + 1, (int)last + 1);
        write_shard(golden, shard, folder, name, weight_map);
    }
    index = json_pack("{s:{}, s:o}", "metadata", "weight_map", weight_map);
    if (last > 0)
        write_json(folder, "model.safetensors.index.json", index);
    json_decref(index);
}

static void
copy_tokenizer(const char *tokenizer, const char *folder)
{
    static const char *const names[] = { "tokenizer.json", "tokenizer.model", "tokenizer_config.json" };

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char from[SCRATCH_PATH], to[SCRATCH_PATH], *text;
        size_t length;

        snprintf(from, sizeof from, TOKENIZERS "/%s/%s.gz", tokenizer, names[i]);
        snprintf(to, sizeof to, "%s/%s", folder, names[i]);
        if (!scratch_exists(from))
            continue;
        text = unzipped(from, &length);
        scratch_write(to, text, length);
        free(text);
    }
}

void
golden_checkpoint(json_t *golden, const char *folder)
{
    scratch_folder(folder);
    write_json(folder, "config.json", json_object_get(golden, "config"));
    write_json(folder, "generation_config.json", json_object_get(golden, "generation_config"));
    write_weights(golden, folder);
    copy_tokenizer(json_string_value(json_object_get(golden, "tokenizer")), folder);
}
