/*
 * The types that each recipe gives the tensors of each family, against the reference's: of every golden of
 * tests/golden/families, with rows of whole blocks and with more layers, by tests/golden/policy/families.tsv. The table has
 * hashes only; tests/interop/policy.py, which makes it, says which tensor differs.
 */
#include "formats/base/status.h"
#include "formats/models/view.h"
#include "golden_checkpoint.h"
#include "quantize/policy/recipe.h"
#include "testing.h"

#include <ctype.h>
#include <inttypes.h>
#include <zlib.h>

#define TABLE TEST_DATA "/golden/policy/families.tsv"
#define LAYERS 20
#define MAX_TENSORS 2048

static struct nb_view tensors[MAX_TENSORS];
static char names[MAX_TENSORS][NB_MAX_NAME + 1];
static const struct nb_view *sorted[MAX_TENSORS];
static struct nb_choice choices[MAX_TENSORS];
static size_t n_tensors;

/* The value of the key that ends with ENDING, or the first of an array; 0 if there is none. */
static uint64_t
number_of(json_t *expected, const char *ending)
{
    json_t *row, *value;
    size_t i;

    json_array_foreach(json_object_get(expected, "kv"), i, row) {
        const char *key = json_string_value(json_array_get(row, 0));

        if (strlen(key) < strlen(ending) || strcmp(key + strlen(key) - strlen(ending), ending) != 0)
            continue;
        value = json_array_get(row, 2);
        if (json_is_object(value))
            value = json_array_get(json_object_get(value, "values"), 0);
        return (uint64_t)json_integer_value(value);
    }
    return 0;
}

static void
add(const char *name, json_t *tensor)
{
    struct nb_view *t = &tensors[n_tensors];
    json_t *side;
    size_t i;

    assert_true(n_tensors < MAX_TENSORS);
    snprintf(names[n_tensors], sizeof names[0], "%s", name);
    *t = (struct nb_view){ .name = names[n_tensors], .ne = { 1, 1, 1, 1 } };
    t->type = t->plain_type = nb_type_by_name(json_string_value(json_object_get(tensor, "type")));
    json_array_foreach(json_object_get(tensor, "ne"), i, side)
        t->ne[i] = (uint64_t)json_integer_value(side);
    t->n_dims = (uint32_t)json_array_size(json_object_get(tensor, "ne"));
    while (t->n_dims > 1 && t->ne[0] % 256 != 0)
        t->ne[0] *= 2;
    sorted[n_tensors++] = t;
}

/* The tensors that the golden's file would have with LAYERS layers: each of its own again and again. */
static void
make_tensors(json_t *expected)
{
    const uint64_t layers = number_of(expected, ".block_count");
    json_t *tensor;
    size_t i;

    n_tensors = 0;
    json_array_foreach(json_object_get(expected, "tensors"), i, tensor) {
        const char *name = json_string_value(json_object_get(tensor, "name"));
        char *rest, copy[NB_MAX_NAME + 1];

        if (strncmp(name, "blk.", 4) != 0) {
            add(name, tensor);
            continue;
        }
        for (uint64_t layer = strtoull(name + 4, &rest, 10); layer < LAYERS; layer += layers) {
            snprintf(copy, sizeof copy, "blk.%" PRIu64 "%s", layer, rest);
            add(copy, tensor);
        }
    }
    qsort(sorted, n_tensors, sizeof sorted[0], nb_layer_order);
}

static int
by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* CRC-32 of the lines "NAME TYPE", by name. */
static unsigned
hash_of_choices(void)
{
    static char lines[MAX_TENSORS][NB_MAX_NAME + 16];
    static char *order[MAX_TENSORS];
    uLong crc = crc32(0, NULL, 0);

    for (size_t i = 0; i < n_tensors; i++) {
        snprintf(lines[i], sizeof lines[0], "%s %s\n", sorted[i]->name, nb_type_info(choices[i].type)->name);
        for (char *p = lines[i]; *p != '\0'; p++)
            *p = (char)tolower((unsigned char)*p);
        order[i] = lines[i];
    }
    qsort(order, n_tensors, sizeof order[0], by_name);
    for (size_t i = 0; i < n_tensors; i++)
        crc = crc32(crc, (const Bytef *)order[i], (uInt)strlen(order[i]));
    return (unsigned)crc;
}

/* What the reference chooses for the golden NAME: "RECIPE HASH" after another in HASHES. */
static void
check_golden(const char *name, char *hashes)
{
    char path[4096], *rest;
    json_t *golden, *expected;
    struct nb_model_facts facts;

    snprintf(path, sizeof path, TEST_DATA "/golden/families/%s.json.gz", name);
    golden = golden_read(path);
    expected = json_object_get(golden, "expected");
    make_tensors(expected);
    facts = (struct nb_model_facts){
        .arch = json_string_value(json_array_get(json_array_get(json_object_get(expected, "kv"), 0), 2)),
        .layers = LAYERS,
        .heads = number_of(expected, ".attention.head_count"),
        .kv_heads = number_of(expected, ".attention.head_count_kv"),
        .experts = number_of(expected, ".expert_count"),
    };
    for (char *word = strtok_r(hashes, " \n", &rest); word != NULL; word = strtok_r(NULL, " \n", &rest)) {
        struct nb_recipe_options options = { .recipe = nb_recipe_by_name(word),
                                             .output_type = NB_TYPE_NONE,
                                             .embedding_type = NB_TYPE_NONE };
        const char *hash = strtok_r(NULL, " \n", &rest);
        struct nb_error err;

        assert_non_null(options.recipe);
        assert_non_null(hash);
        if (nb_recipe_choose(&options, &facts, sorted, n_tensors, choices, &err) != NB_OK)
            fail_msg("%s, %s: %s", name, word, err.message);
        if (hash_of_choices() != strtoul(hash, NULL, 16))
            fail_msg("%s, %s: the reference gives some tensor another type", name, word);
    }
    json_decref(golden);
}

static void
every_recipe_gives_every_family_the_reference_types(void **unused)
{
    FILE *f = fopen(TABLE, "r");
    char line[2048];
    size_t checked = 0;

    (void)unused;
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL) {
        char *tab = strchr(line, '\t');

        if (*line == '#')
            continue;
        assert_non_null(tab);
        *tab = '\0';
        check_golden(line, tab + 1);
        checked++;
    }
    fclose(f);
    assert_true(checked >= 80);
}

int
main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_recipe_gives_every_family_the_reference_types) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
