/*
 * The seam between checkpoints and everyone else: tables that are sound, views that give the same
 * weights however they are read, and families that are nothing but tables.
 */
#include "formats/elements/halves.h"
#include "formats/models/architecture.h"
#include "formats/models/expression.h"
#include "formats/models/family.h"
#include "formats/models/source.h"
#include "formats/models/transpose.h"
#include "formats/models/view.h"
#include "formats/models/view_build.h"
#include "formats/models/view_panel.h"
#include "scratch.h"
#include "splitmix.h"
#include "testing.h"

#include <stdbool.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* --- the tables ----------------------------------------------------------------------------------------- */

static void
architectures_are_written_in_names_that_exist(void **unused)
{
    (void)unused;
    for (const struct nb_arch *const *a = nb_archs; *a != NULL; a++) {
        assert_ptr_equal(nb_arch_by_name((*a)->name), *a);
        for (size_t i = 0; i < (*a)->n_tensors; i++) {
            const struct nb_arch_tensor *t = &(*a)->tensors[i];

            assert_ptr_equal(nb_arch_row(*a, t->name), t); /* named once */
            assert_non_null(t->ne[0]);
            for (unsigned d = 0; d < NB_MAX_DIMS; d++)
                if (t->ne[d] != NULL && !nb_expression_is_valid(t->ne[d] + (*t->ne[d] == '?')))
                    fail_msg("%s: '%s': '%s' is no expression", (*a)->name, t->name, t->ne[d]);
            if (t->when != NULL && !nb_expression_is_valid(t->when))
                fail_msg("%s: '%s': '%s' is no condition", (*a)->name, t->name, t->when);
        }
        for (size_t i = 0; i < (*a)->n_blocks; i++)
            assert_true((*a)->blocks[i].when == NULL || nb_expression_is_valid((*a)->blocks[i].when));
        for (size_t i = 0; i < (*a)->n_rules; i++)
            assert_true(nb_expression_is_valid((*a)->rules[i].holds));
        for (size_t i = 0; i < (*a)->n_keys; i++)
            assert_true(((*a)->keys[i].count == NULL || nb_expression_is_valid((*a)->keys[i].count)) &&
                        ((*a)->keys[i].when == NULL || nb_expression_is_valid((*a)->keys[i].when)));
    }
}

/* Whether a row of FAMILY makes the tensor that the architecture calls NAME. */
static bool
is_made(const struct nb_family *f, const char *name)
{
    for (size_t i = 0; i < f->n_to_gguf; i++)
        if (strcmp(f->to_gguf[i].to, name) == 0)
            return true;
    for (size_t i = 0; i < f->n_made; i++)
        if (strcmp(f->made[i].to, name) == 0)
            return true;
    return false;
}

static void
check_map(const struct nb_family *f, const struct nb_map_row *row)
{
    const struct nb_arch_tensor *target = nb_arch_row(f->arch, row->to);

    if (target == NULL)
        fail_msg("%s: '%s' is no tensor of %s", f->classes[0], row->to, f->arch->name);
    if (strstr(row->from, "%l") != NULL && strstr(row->to, "%l") == NULL && row->op[0].kind != NB_MAP_JOIN)
        fail_msg("%s: '%s' is of a layer, '%s' is not", f->classes[0], row->from, row->to);
    for (size_t i = 0; i < NB_MAP_OPS; i++)
        for (unsigned k = 0; k < 3 && row->op[i].kind != NB_MAP_SCALE_BY && row->op[i].kind != NB_MAP_SCALE_PARTS &&
                             row->op[i].kind != NB_MAP_SIDES;
             k++)
            if (row->op[i].argument[k] != NULL && !nb_expression_is_valid(row->op[i].argument[k]))
                fail_msg("%s: '%s' is no expression", f->classes[0], row->op[i].argument[k]);
}

static void
check_family(const struct nb_family *f)
{
    for (size_t i = 0; i < f->n_config; i++) {
        const struct nb_config_row *row = &f->config[i];

        if (row->otherwise != NULL && *row->otherwise != '\0' && nb_hparam_info(row->hparam)->type != NB_HP_TYPE_TEXT &&
            !nb_expression_is_valid(row->otherwise))
            fail_msg("%s: '%s' is no expression", f->classes[0], row->otherwise);
    }
    for (size_t i = 0; i < f->n_to_gguf; i++) {
        check_map(f, &f->to_gguf[i]);
        for (size_t k = 0; k < i; k++) /* a tensor would be written twice */
            if (strcmp(f->to_gguf[k].from, f->to_gguf[i].from) == 0 && strcmp(f->to_gguf[k].to, f->to_gguf[i].to) == 0)
                fail_msg("%s: '%s' becomes '%s' twice", f->classes[0], f->to_gguf[i].from, f->to_gguf[i].to);
    }
    for (size_t i = 0; i < f->n_made; i++)
        assert_non_null(nb_arch_row(f->arch, f->made[i].to));
    for (size_t i = 0; i < f->arch->n_tensors; i++) {
        const struct nb_arch_tensor *t = &f->arch->tensors[i];

        if (t->presence == NB_REQUIRED && t->when == NULL && !is_made(f, t->name))
            fail_msg("%s: nothing makes '%s'", f->classes[0], t->name);
    }
}

static void
families_map_to_tensors_that_their_architecture_has(void **unused)
{
    (void)unused;
    for (const struct nb_family *const *f = nb_families; *f != NULL; f++) {
        for (const char *const *name = (*f)->classes; *name != NULL; name++)
            if ((*f)->is_for == NULL)
                assert_ptr_equal(nb_family_by_class(*name, NULL), *f); /* no class is claimed twice */
        check_family(*f);
    }
}

static void
expressions_give_what_they_say(void **unused)
{
    static const struct {
        const char *text;
        double value;
    } cases[] = {
        { "heads * key_length", 128 },
        { "embedding // heads", 12 },
        { "embedding / heads", 12.5 },
        { "2 + 3 * 4", 14 },
        { "(2 + 3) * 4", 20 },
        { "10 - 4 - 3", 3 },
        { "layer >= 2 && layer < 4", 1 },
        { "experts > 0", 0 },
        { "!experts", 1 },
        { "experts || layer == 3", 1 },
        { "-2 + 5", 3 },
        { "17 % 5", 2 },
        { "feed_forward", 30 },
        { "kv_heads * 0 + 1e-6", 1e-6 },
    };
    static const char *const malformed[] = { "", "heads *", "no_such", "(1", "1)", "1 2", "heads $ 2", "%" };
    const double by_layer[] = { 10, 20, 25, 30 };
    struct nb_hparams hp = { 0 };
    struct nb_error err;
    uint64_t count;

    (void)unused;
    nb_hp_set(&hp, NB_HP_HEADS, 4, true);
    nb_hp_set(&hp, NB_HP_KEY_LENGTH, 32, true);
    nb_hp_set(&hp, NB_HP_EMBEDDING, 50, true);
    assert_int_equal(nb_hp_set_each(&hp, NB_HP_FEED_FORWARD, by_layer, 4, true, &err), NB_OK);
    for (size_t i = 0; i < COUNT(cases); i++)
        if (nb_expression(cases[i].text, &hp, 3) != cases[i].value)
            fail_msg("'%s' is %g", cases[i].text, nb_expression(cases[i].text, &hp, 3));
    for (size_t i = 0; i < COUNT(malformed); i++) {
        assert_true(isnan(nb_expression(malformed[i], &hp, 0)));
        assert_false(nb_expression_is_valid(malformed[i]));
    }
    assert_true(isnan(nb_expression("heads / experts", &hp, 0)));
    assert_false(nb_expression_count("embedding / heads", &hp, 0, &count));
    assert_false(nb_expression_count("0 - heads", &hp, 0, &count));
    assert_int_equal(nb_hp_at(&hp, NB_HP_FEED_FORWARD, 4), 0); /* beyond the last layer */
    nb_hparams_free(&hp);
}

/* --- views, read in every way --------------------------------------------------------------------------------- */

#define ROWS 48
#define WIDTH 40

/* A stored matrix in memory, of F32 or F16, whose element I is I / 8. */
static void
make_stored(struct nb_tensor *t, const char *name, enum nb_type type, uint64_t rows, uint64_t width, void *memory)
{
    *t = (struct nb_tensor){
        .name = name, .type = type, .n_dims = 2, .ne = { width, rows, 1, 1 }, .bytes_in_memory = memory
    };
    for (uint64_t i = 0; i < rows * width; i++) {
        const float f = (float)i / 8;
        const uint16_t h = nb_f32_to_f16(f);

        memcpy((char *)memory + i * (type == NB_F32 ? 4 : 2), type == NB_F32 ? (const void *)&f : (const void *)&h,
               type == NB_F32 ? 4 : 2);
    }
    assert_true(nb_tensor_measure(t));
}

/* Reads VIEW in parts of all sizes and places, and holds them against WANT. */
static void
expect_elements(const struct nb_view *v, const float *want)
{
    struct nb_view_panel *panel = nb_view_panel_new();
    struct nb_view_reader reader = { 0 };
    uint64_t state = 7;
    struct nb_error err;
    float got[(ROWS + 2) * WIDTH]; /* the largest view is that of two more rows */

    assert_non_null(panel);
    for (unsigned trial = 0; trial < 300; trial++) {
        const uint64_t first = trial == 0 ? 0 : splitmix(&state) % v->elements;
        const uint64_t n = trial == 0 ? v->elements : 1 + splitmix(&state) % (v->elements - first);

        if (trial % 2 == 0)
            assert_int_equal(nb_view_fetch(v, first, n, &reader, &err), NB_OK);
        else
            assert_int_equal(nb_view_fetch_shared(v, first, n, &reader, panel, &err), NB_OK);
        nb_view_decode(v, &reader, 0, n, got);
        for (uint64_t i = 0; i < n; i++)
            if (got[i] != want[first + i])
                fail_msg("%s: element %u is %g, should be %g", v->name, (unsigned)(first + i), (double)got[i],
                         (double)want[first + i]);
        nb_view_release(&reader, panel);
    }
    nb_view_reader_free(&reader);
    nb_view_panel_free(panel);
}

/* Builds a view of ROWS x COLUMNS by the operations OP. */
static void
build(struct nb_view *v, const struct nb_store *store, const struct nb_map_op *op, uint64_t columns, uint64_t rows,
      struct nb_arena *arena)
{
    struct nb_map_row row = { "stored", "view", { { 0 } } };
    struct nb_hparams hp = { 0 };
    const struct nb_tensor *stored[4] = { &store->tensors[0], &store->tensors[1], NULL, NULL };
    const struct nb_view_origin origin = { &row, &hp, 0, stored, store->count, NULL, NULL };
    struct nb_error err;

    for (unsigned i = 0; i < NB_MAP_OPS; i++)
        row.op[i] = op[i];
    *v = (struct nb_view){ .name = "view",
                           .source_name = "stored",
                           .type = store->tensors[0].type,
                           .n_dims = 2,
                           .ne = { columns, rows, 1, 1 },
                           .store = store };
    if (nb_view_build(v, &origin, arena, &err) != NB_OK)
        fail_msg("%s", err.message);
}

static void
views_give_the_same_elements_however_they_are_read(void **unused)
{
    static const struct {
        struct nb_map_op op[NB_MAP_OPS];
        uint64_t columns, rows;
        /* The stored row and column of element (r, c). */
        uint64_t row_a, row_b, row_c, first_row; /* stored row = first + digits by these strides */
        uint64_t digit_b, digit_c;
        uint64_t first_column;
        bool transposed;
    } cases[] = {
        { { { NB_MAP_NOTHING, { 0 } } }, WIDTH, ROWS, 1, 0, 0, 0, 1, 1, 0, false },
        { { { NB_MAP_CUT, { "16", "8" } } }, WIDTH, 8, 1, 0, 0, 16, 1, 1, 0, false },
        { { { NB_MAP_CUT_COLUMNS, { "8", "24" } } }, 24, ROWS, 1, 0, 0, 0, 1, 1, 8, false },
        { { { NB_MAP_EVERY, { "1", "2" } } }, WIDTH, ROWS / 2, 2, 0, 0, 1, 1, 1, 0, false },
        { { { NB_MAP_NEIGHBOURS, { "12" } } }, WIDTH, ROWS, 12, 1, 6, 0, 6, 2, 0, false },
        { { { NB_MAP_SWAP, { "4", "3", "4" } } }, WIDTH, ROWS, 4, 12, 1, 0, 4, 4, 0, false },
        { { { NB_MAP_PARTS, { "4", "4", "4" } } }, WIDTH, ROWS, 4, 12, 1, 0, 4, 4, 0, false },
        { { { NB_MAP_CUT_GROUPS, { "4", "3", "5" } } }, WIDTH, 20, 12, 1, 0, 3, 5, 1, 0, false },
        { { { NB_MAP_SWAP_FROM, { "0", "4", "3" } } }, WIDTH, ROWS, 4, 12, 1, 0, 4, 4, 0, false },
        { { { NB_MAP_CUT_GROUPS, { "4", "0", "6" } }, { NB_MAP_ALSO_GROUPS, { "4", "6", "6" } } },
          WIDTH,
          ROWS,
          6,
          12,
          1,
          0,
          4,
          6,
          0,
          false },
        { { { NB_MAP_HALVES, { "12", "12" } } }, WIDTH, ROWS, 12, 1, 2, 0, 2, 6, 0, false },
        { { { NB_MAP_FIT, { "20" } } }, WIDTH, 20, 1, 0, 0, 0, 1, 1, 0, false },
        { { { NB_MAP_TRANSPOSE, { 0 } } }, ROWS, WIDTH, 1, 0, 0, 0, 1, 1, 0, true },
        { { { NB_MAP_TRANSPOSE, { 0 } }, { NB_MAP_EVERY, { "1", "2" } } }, ROWS, WIDTH / 2, 2, 0, 0, 1, 1, 1, 0, true },
        { { { NB_MAP_CUT, { "16", "8" } }, { NB_MAP_TRANSPOSE, { 0 } } }, 8, WIDTH, 1, 0, 0, 0, 1, 1, 16, true },
    };

    (void)unused;
    for (size_t i = 0; i < COUNT(cases); i++) {
        float memory[ROWS * WIDTH], want[ROWS * WIDTH];
        struct nb_tensor stored;
        const struct nb_store store = { &stored, 1, NULL, 0 };
        struct nb_arena arena = { 0 };
        struct nb_view v;

        make_stored(&stored, "stored", NB_F32, ROWS, WIDTH, memory);
        build(&v, &store, cases[i].op, cases[i].columns, cases[i].rows, &arena);
        for (uint64_t r = 0; r < cases[i].rows; r++) {
            const uint64_t c_digit = r % cases[i].digit_c, b_digit = r / cases[i].digit_c % cases[i].digit_b;
            const uint64_t a_digit = r / cases[i].digit_c / cases[i].digit_b;
            const uint64_t from = cases[i].first_row + a_digit * cases[i].row_a + b_digit * cases[i].row_b +
                                  c_digit * cases[i].row_c;

            for (uint64_t c = 0; c < cases[i].columns; c++)
                want[r * cases[i].columns + c] = cases[i].transposed
                                                     ? memory[(c + cases[i].first_column) * WIDTH + from]
                                                     : memory[from * WIDTH + c + cases[i].first_column];
        }
        expect_elements(&v, want);
        nb_arena_free(&arena);
    }
}

static float
as_half(float x)
{
    return nb_f16_to_f32(nb_f32_to_f16(x));
}

static void
stacked_columns_and_computed_elements_are_what_they_should_be(void **unused)
{
    static const struct nb_map_op nothing[NB_MAP_OPS] = { { NB_MAP_NOTHING, { 0 } } };
    static const struct nb_map_op swapped[NB_MAP_OPS] = { { NB_MAP_SWAP_COLUMNS, { "5", "2", "4" } } };
    static const struct nb_map_op plus_one[NB_MAP_OPS] = { { NB_MAP_ADD, { "1" } }, { NB_MAP_SCALE, { "3" } } };
    float a[ROWS / 2 * WIDTH], b[ROWS / 2 * WIDTH], want[ROWS * WIDTH];
    uint16_t halves[ROWS * WIDTH];
    struct nb_tensor stored[2];
    struct nb_store store = { stored, 2, NULL, 0 };
    struct nb_arena arena = { 0 };
    struct nb_view v;

    (void)unused;
    make_stored(&stored[0], "a", NB_F32, ROWS / 2, WIDTH, a);
    make_stored(&stored[1], "b", NB_F32, ROWS / 2, WIDTH, b);
    for (size_t i = 0; i < COUNT(b); i++)
        b[i] = -b[i];
    build(&v, &store, nothing, WIDTH, ROWS, &arena);
    memcpy(want, a, sizeof a);
    memcpy(want + COUNT(a), b, sizeof b);
    expect_elements(&v, want);

    build(&v, &store, swapped, WIDTH, ROWS, &arena); /* columns 5 x 2 x 4 to 2 x 5 x 4 */
    for (size_t r = 0; r < ROWS; r++)
        for (size_t c = 0; c < WIDTH; c++)
            want[r * WIDTH + c] = (r < ROWS / 2 ? a : b)[r % (ROWS / 2) * WIDTH + c / 4 % 5 * 8 + c / 20 * 4 + c % 4];
    expect_elements(&v, want);

    store.count = 1;
    make_stored(&stored[0], "halves", NB_F16, ROWS, WIDTH, halves);
    build(&v, &store, plus_one, WIDTH, ROWS, &arena);
    for (size_t i = 0; i < COUNT(want); i++) /* each step rounded to F16 */
        want[i] = as_half(as_half(as_half((float)i / 8) + 1) * 3);
    expect_elements(&v, want);
    nb_arena_free(&arena);
}

static void
operations_that_do_not_fit_are_refused(void **unused)
{
    static const struct {
        struct nb_map_op op[NB_MAP_OPS];
        uint64_t columns, rows;
    } cases[] = {
        { { { NB_MAP_NOTHING, { 0 } } }, WIDTH, ROWS + 1 },
        { { { NB_MAP_CUT, { "40", "9" } } }, WIDTH, 9 },
        { { { NB_MAP_CUT, { "0", "0" } } }, WIDTH, ROWS },
        { { { NB_MAP_CUT_GROUPS, { "5", "0", "1" } } }, WIDTH, 5 },
        { { { NB_MAP_CUT_COLUMNS, { "30", "11" } } }, 11, ROWS },
        { { { NB_MAP_EVERY, { "1", "3" } } }, WIDTH, ROWS / 2 },
        { { { NB_MAP_NEIGHBOURS, { "5" } } }, WIDTH, ROWS },
        { { { NB_MAP_SWAP, { "4", "4", "4" } } }, WIDTH, ROWS },
        { { { NB_MAP_PARTS, { "4", "5", "5" } } }, WIDTH, ROWS },
        { { { NB_MAP_SWAP_FROM, { "0", "5", "2" } } }, WIDTH, ROWS },
        { { { NB_MAP_SWAP_FROM, { "48", "1", "1" } } }, WIDTH, ROWS },
        { { { NB_MAP_CUT, { "0", "8" } }, { NB_MAP_ALSO_GROUPS, { "5", "0", "1" } } }, WIDTH, 13 },
        { { { NB_MAP_HALVES, { "12", "14" } } }, WIDTH, ROWS },
        { { { NB_MAP_HALVES, { "5", "4" } } }, WIDTH, ROWS },
        { { { NB_MAP_EVERY_COLUMN, { "0", "3" } } }, WIDTH / 3, ROWS },
        { { { NB_MAP_MXFP4, { "0", "1" } } }, WIDTH, ROWS },
        { { { NB_MAP_FILL, { "1 / experts" } } }, WIDTH, ROWS },
        { { { NB_MAP_CUT, { "heads", "experts - 1" } } }, WIDTH, ROWS },
        { { { NB_MAP_TRANSPOSE, { 0 } } }, WIDTH, ROWS + 2 },
        { { { NB_MAP_ADD, { "1 / experts" } } }, WIDTH, ROWS },
    };
    float memory[ROWS * WIDTH];
    struct nb_tensor stored;
    const struct nb_store store = { &stored, 1, NULL, 0 };

    (void)unused;
    make_stored(&stored, "stored", NB_F32, ROWS, WIDTH, memory);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct nb_map_row row = { "stored", "view", { { 0 } } };
        struct nb_hparams hp = { 0 };
        const struct nb_tensor *const list[] = { &stored };
        const struct nb_view_origin origin = { &row, &hp, 0, list, 1, NULL, NULL };
        struct nb_arena arena = { 0 };
        struct nb_error err;
        struct nb_view v = { .name = "view",
                             .source_name = "stored",
                             .type = NB_F32,
                             .n_dims = 2,
                             .ne = { cases[i].columns, cases[i].rows, 1, 1 },
                             .store = &store };

        memcpy(row.op, cases[i].op, sizeof row.op);
        if (nb_view_build(&v, &origin, &arena, &err) != NB_INPUT || strstr(err.message, "'stored'") == NULL)
            fail_msg("case %zu is not refused", i);
        nb_arena_free(&arena);
    }
}

/* Rows that are added are zeros; those before a reordered part stay; every second column is left. */
static void
rows_are_added_kept_and_columns_left_out(void **unused)
{
    static const struct nb_map_op fit[NB_MAP_OPS] = { { NB_MAP_CUT, { "0", "40" } }, { NB_MAP_FIT, { "48" } } };
    static const struct nb_map_op tail[NB_MAP_OPS] = { { NB_MAP_SWAP_FROM, { "16", "4", "2" } } };
    static const struct nb_map_op odd[NB_MAP_OPS] = { { NB_MAP_EVERY_COLUMN, { "1", "2" } } };
    float memory[ROWS * WIDTH], want[ROWS * WIDTH] = { 0 };
    struct nb_tensor stored;
    const struct nb_store store = { &stored, 1, NULL, 0 };
    struct nb_arena arena = { 0 };
    struct nb_view v;

    (void)unused;
    make_stored(&stored, "stored", NB_F32, ROWS, WIDTH, memory);
    memcpy(want, memory, 40 * WIDTH * sizeof *want);
    build(&v, &store, fit, WIDTH, ROWS, &arena);
    expect_elements(&v, want);
    memcpy(want, memory, sizeof memory);
    for (size_t r = 16; r < ROWS; r++) { /* 4 x 2 blocks of 4 rows */
        const size_t block = (r - 16) / 4, from = 16 + ((block % 4) * 2 + block / 4) * 4 + r % 4;

        memcpy(want + r * WIDTH, memory + from * WIDTH, WIDTH * sizeof *want);
    }
    build(&v, &store, tail, WIDTH, ROWS, &arena);
    expect_elements(&v, want);
    for (size_t i = 0; i < (size_t)ROWS * WIDTH / 2; i++)
        want[i] = memory[2 * i + 1];
    build(&v, &store, odd, WIDTH / 2, ROWS, &arena);
    expect_elements(&v, want);
    nb_arena_free(&arena);
}

static void
a_default_that_depends_on_the_layer_is_an_array(void **unused)
{
    struct nb_hparams hp = { 0 };
    struct nb_error err;

    (void)unused;
    nb_hp_set(&hp, NB_HP_LAYERS, 4, true);
    assert_int_equal(nb_expression_set("(layer + 1) % 4 != 0", &hp, NB_HP_SLIDING_PATTERN, &err), NB_OK);
    assert_int_equal(hp.value[NB_HP_SLIDING_PATTERN].count, 4);
    assert_true(hp.value[NB_HP_SLIDING_PATTERN].flags && !hp.value[NB_HP_SLIDING_PATTERN].given);
    assert_true(nb_hp_at(&hp, NB_HP_SLIDING_PATTERN, 2) == 1 && nb_hp_at(&hp, NB_HP_SLIDING_PATTERN, 3) == 0);
    /* So does one that depends on another by layer; a single number stays single. */
    assert_int_equal(nb_expression_set("2 * (2 - sliding_pattern)", &hp, NB_HP_KV_HEADS, &err), NB_OK);
    assert_true(nb_hp_at(&hp, NB_HP_KV_HEADS, 0) == 2 && nb_hp_at(&hp, NB_HP_KV_HEADS, 3) == 4);
    assert_int_equal(nb_expression_set("layers / 2", &hp, NB_HP_HEADS, &err), NB_OK);
    assert_null(hp.value[NB_HP_HEADS].each);
    nb_hparams_free(&hp);
}

/* Factors of config.json, for all elements and for parts of the rows; absent ones are 1. */
static void
factors_of_the_config_multiply_weights_and_wrong_ones_are_refused(void **unused)
{
    static const struct {
        const char *config;
        float first, last; /* factors of the first 16 rows, and of the others; 0: refused */
    } cases[] = {
        { "{\"all\": 0.5, \"parts\": [2, 4]}", 1, 2 },
        { "{\"parts\": [2, 4]}", 2, 4 },
        { "{\"all\": 3}", 3, 3 },
        { "{\"all\": null, \"parts\": null}", 1, 1 },
        { "{\"parts\": [2]}", 0, 0 },
        { "{\"parts\": [2, 4, 8]}", 0, 0 },
        { "{\"all\": \"much\"}", 0, 0 },
        { "{\"parts\": [2, true]}", 0, 0 },
    };
    float memory[ROWS * WIDTH], want[ROWS * WIDTH];
    struct nb_tensor stored;
    const struct nb_store store = { &stored, 1, NULL, 0 };

    (void)unused;
    make_stored(&stored, "stored", NB_F32, ROWS, WIDTH, memory);
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct nb_map_row row = {
            "stored", "view", { { NB_MAP_SCALE_BY, { "all" } }, { NB_MAP_SCALE_PARTS, { "parts", "16,32" } } }
        };
        struct nb_hparams hp = { 0 };
        const struct nb_tensor *const list[] = { &stored };
        json_t *config = json_loads(cases[i].config, 0, NULL);
        const struct nb_view_origin origin = { &row, &hp, 0, list, 1, NULL, config };
        struct nb_view v = { .name = "view",
                             .source_name = "stored",
                             .type = NB_F32,
                             .n_dims = 2,
                             .ne = { WIDTH, ROWS, 1, 1 },
                             .store = &store };
        struct nb_arena arena = { 0 };
        struct nb_error err;
        const enum nb_status status = nb_view_build(&v, &origin, &arena, &err);

        assert_int_equal(status, cases[i].first == 0 ? NB_INPUT : NB_OK);
        for (size_t k = 0; k < COUNT(want); k++)
            want[k] = memory[k] * (k < 16 * WIDTH ? cases[i].first : cases[i].last);
        if (status == NB_OK)
            expect_elements(&v, want);
        nb_arena_free(&arena);
        json_decref(config);
    }
}

static void
a_vector_is_folded_only_into_a_matrix_of_its_size(void **unused)
{
    const struct nb_map_row row = { "stored", "view", { { NB_MAP_FOLD, { NULL } } } };
    float memory[48] = { 0 };
    struct nb_tensor stored = {
        .name = "stored", .type = NB_F32, .n_dims = 1, .ne = { 48, 1, 1, 1 }, .bytes_in_memory = memory
    };
    const struct nb_store store = { &stored, 1, NULL, 0 };
    const struct nb_tensor *const list[] = { &stored };
    struct nb_hparams hp = { 0 };
    const struct nb_view_origin origin = { &row, &hp, 0, list, 1, NULL, NULL };

    (void)unused;
    assert_true(nb_tensor_measure(&stored));
    for (uint64_t rows = 3; rows < 6; rows += 2) {
        struct nb_view v = { .name = "view",
                             .source_name = "stored",
                             .type = NB_F32,
                             .n_dims = 2,
                             .ne = { 16, rows, 1, 1 },
                             .store = &store };
        struct nb_arena arena = { 0 };
        struct nb_error err;

        assert_int_equal(nb_view_build(&v, &origin, &arena, &err), rows == 3 ? NB_OK : NB_INPUT);
        nb_arena_free(&arena);
    }
}

/* Lists that say which layers are of a kind: by name, by letter, by number. */
static void
lists_of_layers_must_have_one_entry_per_layer(void **unused)
{
    json_t *config = json_loads(
        "{\"names\": [\"a\", \"bc\", \"b\"], \"letters\": \"xyx\", \"numbers\": [1, 3], \"odd\": [1, 2, 3]}", 0, NULL);

    (void)unused;
    assert_true(nb_config_layer_is(config, "names", "x|bc", 1, 3) == 1);
    assert_true(nb_config_layer_is(config, "names", "bc", 2, 3) == 0);
    assert_true(isnan(nb_config_layer_is(config, "names", "a", 0, 4)));
    assert_true(nb_config_layer_is(config, "letters", "x", 2, 3) == 1);
    assert_true(nb_config_layer_is(config, "letters", "x", 1, 3) == 0);
    assert_true(isnan(nb_config_layer_is(config, "letters", "x", 0, 2)));
    assert_true(isnan(nb_config_layer_is(config, "absent", "x", 0, 2)));
    assert_true(nb_config_layer_is(config, "odd", "1", 0, 3) == 0); /* numbers are no names */
    assert_true(nb_config_lists_layer(config, "numbers", 1, 2) == 1);
    assert_true(nb_config_lists_layer(config, "numbers", 0, 2) == 0);
    assert_true(isnan(nb_config_lists_layer(config, "letters", 0, 2)));
    json_decref(config);
}

/* A format of another toolkit: codes of a byte, and a scale for each row in a tensor of its own. */
static enum nb_status
read_scaled_bytes(const struct nb_view *v, uint64_t first, uint64_t count, void *to, struct nb_view_reader *reader,
                  struct nb_error *err)
{
    float *out = to;
    const unsigned char *codes = v->pieces[0].stored->bytes_in_memory;
    const float *scales = v->companions[0]->bytes_in_memory;

    (void)reader;
    (void)err;
    for (uint64_t i = first; i < first + count; i++)
        *out++ = (float)codes[i] * scales[i / v->ne[0]];
    return NB_OK;
}

static void
numbers_of_another_toolkit_come_through_the_same_function(void **unused)
{
    static const struct nb_foreign scaled_bytes = { "scaled bytes", read_scaled_bytes };
    unsigned char codes[12];
    float scales[3] = { 0.5f, 2, -1 }, want[12];
    struct nb_tensor stored[2] = {
        { .name = "codes", .type = NB_U8, .n_dims = 2, .ne = { 4, 3, 1, 1 }, .bytes_in_memory = codes },
        { .name = "scales", .type = NB_F32, .n_dims = 1, .ne = { 3, 1, 1, 1 }, .bytes_in_memory = scales },
    };
    struct nb_piece piece = { .stored = stored, .pitch = 4, .rows = 3, .columns = 4 };
    struct nb_view v = { .name = "view",
                         .type = NB_F32,
                         .n_dims = 2,
                         .ne = { 4, 3, 1, 1 },
                         .pieces = &piece,
                         .n_pieces = 1,
                         .foreign = &scaled_bytes,
                         .companions = { &stored[1] } };

    (void)unused;
    for (unsigned i = 0; i < COUNT(codes); i++) {
        codes[i] = (unsigned char)(i * 21);
        want[i] = (float)codes[i] * scales[i / 4];
    }
    assert_true(nb_view_measure(&v));
    assert_false(nb_view_is_stored(&v));
    expect_elements(&v, want);
}

/* --- families that are only tables ------------------------------------------------------------------------------ */

#define HIDDEN 64u
#define FEED_FORWARD 96u
#define EXPERTS 4u
#define MAX_PARTS 48

/* A checkpoint in the making: matrices of floats, by name. */
struct parts {
    struct part {
        char name[80];
        unsigned shape[3]; /* 0: no such side */
        float *data;
    } part[MAX_PARTS];
    size_t n;
};

static size_t
size_of(const unsigned shape[3])
{
    return (size_t)shape[0] * (shape[1] == 0 ? 1 : shape[1]) * (shape[2] == 0 ? 1 : shape[2]);
}

static struct part *
add(struct parts *p, const char *name, unsigned a, unsigned b, unsigned c)
{
    struct part *part = &p->part[p->n++];

    assert_true(p->n <= MAX_PARTS);
    *part = (struct part){ .shape = { a, b, c } };
    snprintf(part->name, sizeof part->name, "%s", name);
    part->data = calloc(size_of(part->shape), sizeof *part->data);
    assert_non_null(part->data);
    return part;
}

/* A part with weights that only its name tells apart. */
static const struct part *
add_random(struct parts *p, const char *name, unsigned a, unsigned b)
{
    struct part *part = add(p, name, a, b, 0);
    uint64_t state = 1;

    for (const char *c = name; *c != '\0'; c++)
        state = state * 31 + (unsigned char)*c;
    for (size_t i = 0; i < size_of(part->shape); i++)
        part->data[i] = (float)splitmix_gaussian(&state);
    return part;
}

static void
write_parts(const struct parts *p, const char *folder, const char *config)
{
    char header[16384], path[SCRATCH_PATH];
    size_t length = 0, at = 0, size;
    unsigned char *bytes;

    scratch_remove(folder);
    scratch_folder(folder);
    snprintf(path, sizeof path, "%s/config.json", folder);
    scratch_write_text(path, config);
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    scratch_write_text(path, tiny_tokenizer);
    for (size_t i = 0; i < p->n; i++) {
        const unsigned *s = p->part[i].shape;
        const size_t n = 4 * size_of(s);
        char shape[64];

        if (s[1] == 0)
            snprintf(shape, sizeof shape, "%u", s[0]);
        else if (s[2] == 0)
            snprintf(shape, sizeof shape, "%u,%u", s[0], s[1]);
        else
            snprintf(shape, sizeof shape, "%u,%u,%u", s[0], s[1], s[2]);
        length += (size_t)snprintf(header + length, sizeof header - length,
                                   "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
                                   i == 0 ? "{" : ",", p->part[i].name, shape, at, at + n);
        at += n;
    }
    snprintf(header + length, sizeof header - length, "}");
    write_safetensors(folder, "model.safetensors", header, at);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    bytes = scratch_read(scratch_path(path), &size);
    at = size - at;
    for (size_t i = 0; i < p->n; i++) {
        memcpy(bytes + at, p->part[i].data, 4 * size_of(p->part[i].shape));
        at += 4 * size_of(p->part[i].shape);
    }
    scratch_write(path, bytes, size);
    free(bytes);
}

static void
free_parts(struct parts *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->part[i].data);
    p->n = 0;
}

/* How a checkpoint of the same model is stored. */
enum form { PLAIN, FUSED, TRANSPOSED, EXPERT_BY_EXPERT, EXPERTS_STACKED, EXPERTS_TRANSPOSED };

/* What comes after "model.layers.0." in the names, and the rows of what is fused. */
static void
add_joined(struct parts *p, const char *name, const struct part *const *from, size_t n)
{
    unsigned rows = 0;
    struct part *out;
    size_t at = 0;

    for (size_t i = 0; i < n; i++)
        rows += from[i]->shape[0];
    out = add(p, name, rows, from[0]->shape[1], 0);
    for (size_t i = 0; i < n; i++) {
        memcpy(out->data + at, from[i]->data, size_of(from[i]->shape) * sizeof(float));
        at += size_of(from[i]->shape);
    }
}

static void
transpose(float *to, const struct part *from)
{
    for (unsigned r = 0; r < from->shape[0]; r++)
        for (unsigned c = 0; c < from->shape[1]; c++)
            to[c * from->shape[0] + r] = from->data[r * from->shape[1] + c];
}

static void
add_dense(struct parts *p, struct parts *made, enum form form)
{
    const struct part *q = add_random(made, "q", HIDDEN, HIDDEN), *k = add_random(made, "k", 32, HIDDEN);
    const struct part *v = add_random(made, "v", 32, HIDDEN), *o = add_random(made, "o", HIDDEN, HIDDEN);
    const struct part *gate = add_random(made, "gate", FEED_FORWARD, HIDDEN);
    const struct part *up = add_random(made, "up", FEED_FORWARD, HIDDEN);
    const struct part *down = add_random(made, "down", HIDDEN, FEED_FORWARD);
    static const char *const names[] = { "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                                         "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj" };
    const struct part *const parts[] = { q, k, v, o, gate, up, down };
    char name[80];

    if (form == FUSED) {
        add_joined(p, "model.layers.0.self_attn.qkv_proj.weight", parts, 3);
        add_joined(p, "model.layers.0.mlp.gate_up_proj.weight", parts + 4, 2);
    }
    for (size_t i = 0; i < COUNT(names); i++) {
        if (form == FUSED && i != 3 && i != 6)
            continue;
        if (form >= EXPERT_BY_EXPERT && i >= 4)
            continue;
        snprintf(name, sizeof name, "model.layers.0.%s.weight", names[i]);
        if (form == TRANSPOSED)
            transpose(add(p, name, parts[i]->shape[1], parts[i]->shape[0], 0)->data, parts[i]);
        else
            add_joined(p, name, &parts[i], 1);
    }
}

static void
add_experts(struct parts *p, struct parts *made, enum form form)
{
    static const char *const kinds[] = { "w1", "w2", "w3" }; /* gate, down, up */
    char name[80];

    add_joined(p, "model.layers.0.mlp.gate.weight",
               (const struct part *const[]){ add_random(made, "router", EXPERTS, HIDDEN) }, 1);
    for (size_t kind = 0; kind < 3; kind++) {
        const unsigned rows = kind == 1 ? HIDDEN : FEED_FORWARD, columns = kind == 1 ? FEED_FORWARD : HIDDEN;
        struct part *stack = NULL;

        snprintf(name, sizeof name, "model.layers.0.mlp.experts.%s.weight", kinds[kind]);
        if (form == EXPERTS_STACKED)
            stack = add(p, name, EXPERTS, rows, columns);
        if (form == EXPERTS_TRANSPOSED)
            stack = add(p, name, EXPERTS, columns, rows);
        for (unsigned e = 0; e < EXPERTS; e++) {
            const struct part *one;

            snprintf(name, sizeof name, "model.layers.0.mlp.experts.%u.%s.weight", e, kinds[kind]);
            one = add_random(made, name, rows, columns);
            if (form == EXPERT_BY_EXPERT)
                add_joined(p, name, &one, 1);
            else if (form == EXPERTS_STACKED)
                memcpy(stack->data + (size_t)e * rows * columns, one->data, sizeof(float) * rows * columns);
            else
                transpose(stack->data + (size_t)e * rows * columns, one);
        }
    }
}

/* The same model in FORM. */
static void
write_model(const char *folder, enum form form)
{
    static const char config[] =
        "{\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":64,\"intermediate_size\":96,"
        "\"num_hidden_layers\":1,\"num_attention_heads\":2,\"num_key_value_heads\":1,\"vocab_size\":32,"
        "\"max_position_embeddings\":128,\"rms_norm_eps\":1e-05,\"rope_theta\":10000.0,%s"
        "\"tie_word_embeddings\":true,\"bos_token_id\":0,\"eos_token_id\":1}";
    struct parts p = { .n = 0 }, made = { .n = 0 };
    char text[1024];

    snprintf(text, sizeof text, config,
             form >= EXPERT_BY_EXPERT ? "\"num_local_experts\":4,\"num_experts_per_tok\":2," : "");
    add_joined(&p, "model.embed_tokens.weight",
               (const struct part *const[]){ add_random(&made, "embedding", 32, HIDDEN) }, 1);
    add_random(&p, "model.norm.weight", HIDDEN, 0);
    add_random(&p, "model.layers.0.input_layernorm.weight", HIDDEN, 0);
    add_random(&p, "model.layers.0.post_attention_layernorm.weight", HIDDEN, 0);
    add_dense(&p, &made, form);
    if (form >= EXPERT_BY_EXPERT)
        add_experts(&p, &made, form);
    write_parts(&p, folder, text);
    free_parts(&p);
    free_parts(&made);
}

/* The tables: what all have, and what is their own. */
/* clang-format off */
#define LAYER "model.layers.%l."
#define BLOCK "blk.%l."
#define NEIGHBOURS { NB_MAP_NEIGHBOURS, { "key_length" } }
#define TURNED { NB_MAP_TRANSPOSE, { NULL } }

#define COMMON                                                                                 \
    { "model.embed_tokens.weight", "token_embd.weight", { { 0 } } },                           \
    { "model.norm.weight", "output_norm.weight", { { 0 } } },                                  \
    { LAYER "input_layernorm.weight", BLOCK "attn_norm.weight", { { 0 } } },                   \
    { LAYER "post_attention_layernorm.weight", BLOCK "ffn_norm.weight", { { 0 } } }

#define ATTENTION                                                                  \
    { LAYER "self_attn.q_proj.weight", BLOCK "attn_q.weight", { NEIGHBOURS } },    \
    { LAYER "self_attn.k_proj.weight", BLOCK "attn_k.weight", { NEIGHBOURS } },    \
    { LAYER "self_attn.v_proj.weight", BLOCK "attn_v.weight", { { 0 } } },         \
    { LAYER "self_attn.o_proj.weight", BLOCK "attn_output.weight", { { 0 } } }

static const struct nb_map_row fused[] = {
    COMMON,
    { LAYER "self_attn.qkv_proj.weight", BLOCK "attn_q.weight", { { NB_MAP_CUT, { "0", "heads * key_length" } }, NEIGHBOURS } },
    { LAYER "self_attn.qkv_proj.weight", BLOCK "attn_k.weight", { { NB_MAP_CUT, { "heads * key_length", "kv_heads * key_length" } }, NEIGHBOURS } },
    { LAYER "self_attn.qkv_proj.weight", BLOCK "attn_v.weight", { { NB_MAP_CUT, { "(heads + kv_heads) * key_length", "kv_heads * value_length" } } } },
    { LAYER "self_attn.o_proj.weight", BLOCK "attn_output.weight", { { 0 } } },
    { LAYER "mlp.gate_up_proj.weight", BLOCK "ffn_gate.weight", { { NB_MAP_CUT, { "0", "feed_forward" } } } },
    { LAYER "mlp.gate_up_proj.weight", BLOCK "ffn_up.weight", { { NB_MAP_CUT, { "feed_forward", "feed_forward" } } } },
    { LAYER "mlp.down_proj.weight", BLOCK "ffn_down.weight", { { 0 } } },
};

static const struct nb_map_row transposed[] = {
    COMMON,
    { LAYER "self_attn.q_proj.weight", BLOCK "attn_q.weight", { TURNED, NEIGHBOURS } },
    { LAYER "self_attn.k_proj.weight", BLOCK "attn_k.weight", { TURNED, NEIGHBOURS } },
    { LAYER "self_attn.v_proj.weight", BLOCK "attn_v.weight", { TURNED } },
    { LAYER "self_attn.o_proj.weight", BLOCK "attn_output.weight", { TURNED } },
    { LAYER "mlp.gate_proj.weight", BLOCK "ffn_gate.weight", { TURNED } },
    { LAYER "mlp.up_proj.weight", BLOCK "ffn_up.weight", { TURNED } },
    { LAYER "mlp.down_proj.weight", BLOCK "ffn_down.weight", { TURNED } },
};

static const struct nb_map_row by_expert[] = {
    COMMON,
    ATTENTION,
    { LAYER "mlp.gate.weight", BLOCK "ffn_gate_inp.weight", { { 0 } } },
    { LAYER "mlp.experts.%e.w1.weight", BLOCK "ffn_gate_exps.weight", { { 0 } } },
    { LAYER "mlp.experts.%e.w2.weight", BLOCK "ffn_down_exps.weight", { { 0 } } },
    { LAYER "mlp.experts.%e.w3.weight", BLOCK "ffn_up_exps.weight", { { 0 } } },
};

static const struct nb_map_row stacked[] = {
    COMMON,
    ATTENTION,
    { LAYER "mlp.gate.weight", BLOCK "ffn_gate_inp.weight", { { 0 } } },
    { LAYER "mlp.experts.w1.weight", BLOCK "ffn_gate_exps.weight", { { 0 } } },
    { LAYER "mlp.experts.w2.weight", BLOCK "ffn_down_exps.weight", { { 0 } } },
    { LAYER "mlp.experts.w3.weight", BLOCK "ffn_up_exps.weight", { { 0 } } },
};

static const struct nb_map_row stacked_transposed[] = {
    COMMON,
    ATTENTION,
    { LAYER "mlp.gate.weight", BLOCK "ffn_gate_inp.weight", { { 0 } } },
    { LAYER "mlp.experts.w1.weight", BLOCK "ffn_gate_exps.weight", { TURNED } },
    { LAYER "mlp.experts.w2.weight", BLOCK "ffn_down_exps.weight", { TURNED } },
    { LAYER "mlp.experts.w3.weight", BLOCK "ffn_up_exps.weight", { TURNED } },
};
/* clang-format on */

static const struct nb_config_row mixture_config[] = {
    { NB_HP_LAYERS, "num_hidden_layers", NULL },
    { NB_HP_EMBEDDING, "hidden_size", NULL },
    { NB_HP_FEED_FORWARD, "intermediate_size", NULL },
    { NB_HP_HEADS, "num_attention_heads", NULL },
    { NB_HP_KV_HEADS, "num_key_value_heads", "heads" },
    { NB_HP_KEY_LENGTH, "head_dim", "embedding // heads" },
    { NB_HP_VALUE_LENGTH, "head_dim", "embedding // heads" },
    { NB_HP_ROPE_DIMS, "head_dim", "embedding // heads" },
    { NB_HP_VOCAB, "vocab_size", "32000" },
    { NB_HP_EXPERTS, "num_local_experts|num_experts", "0" },
    { NB_HP_EXPERTS_USED, "num_experts_per_tok", "0" },
};

static const char *const classes[] = { "ThrowAwayForCausalLM", NULL };

static struct nb_family
family_of(const struct nb_map_row *rows, size_t n)
{
    return (struct nb_family){ .classes = classes,
                               .arch = &nb_arch_llama,
                               .config = mixture_config,
                               .n_config = COUNT(mixture_config),
                               .to_gguf = rows,
                               .n_to_gguf = n };
}

/* The source FOLDER as FAMILY, or as config.json says. */
static void
open_as(struct nb_source *source, const char *folder, const struct nb_family *family)
{
    const struct nb_source_options options = { .family = family };
    struct nb_error err;

    if (nb_source_open(source, scratch_path(folder), &options, &err) != NB_OK)
        fail_msg("%s", err.message);
}

/* Both have the same tensors, element by element. */
static void
expect_same_tensors(const struct nb_source *a, const struct nb_source *b)
{
    const struct nb_view **sorted = nb_views_by_name(b->tensors, b->n_tensors);
    struct nb_view_reader reader = { 0 };
    struct nb_error err;

    assert_non_null(sorted);
    assert_int_equal(a->n_tensors, b->n_tensors);
    for (size_t i = 0; i < a->n_tensors; i++) {
        const struct nb_view *x = &a->tensors[i], *y = nb_views_find(sorted, b->n_tensors, x->name);
        const uint64_t rows = x->elements / x->ne[0];
        float *p = calloc((size_t)x->elements, sizeof *p), *q = calloc((size_t)x->elements, sizeof *q);

        assert_non_null(y);
        assert_memory_equal(x->ne, y->ne, sizeof x->ne);
        assert_int_equal(nb_view_rows(x, 0, rows, p, &reader, &err), NB_OK);
        assert_int_equal(nb_view_rows(y, 0, rows, q, &reader, &err), NB_OK);
        if (memcmp(p, q, (size_t)x->elements * sizeof *p) != 0)
            fail_msg("'%s' is not the same", x->name);
        free(p);
        free(q);
    }
    nb_view_reader_free(&reader);
    free(sorted);
}

static void
a_family_is_only_a_table(void **unused)
{
    static const struct {
        enum form form, like;
        const struct nb_map_row *rows, *like_rows;
        size_t n, n_like;
    } cases[] = {
        { FUSED, PLAIN, fused, NULL, COUNT(fused), 0 },
        { TRANSPOSED, PLAIN, transposed, NULL, COUNT(transposed), 0 },
        { EXPERTS_STACKED, EXPERT_BY_EXPERT, stacked, by_expert, COUNT(stacked), COUNT(by_expert) },
        { EXPERTS_TRANSPOSED, EXPERT_BY_EXPERT, stacked_transposed, by_expert, COUNT(stacked_transposed),
          COUNT(by_expert) },
    };

    (void)unused;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct nb_family family = family_of(cases[i].rows, cases[i].n);
        const struct nb_family like = family_of(cases[i].like_rows, cases[i].n_like);
        struct nb_source a, b;

        check_family(&family);
        write_model("one", cases[i].form);
        write_model("other", cases[i].like);
        open_as(&a, "one", &family);
        open_as(&b, "other", cases[i].like_rows == NULL ? NULL : &like);
        expect_same_tensors(&a, &b);
        nb_source_close(&a);
        nb_source_close(&b);
    }
}

static void
a_router_with_an_unknown_function_is_refused(void **unused)
{
    static const char format[] =
        "{\"num_hidden_layers\":2,\"hidden_size\":64,\"intermediate_size\":32,\"num_attention_heads\":4,"
        "\"rms_norm_eps\":1e-5,\"num_experts_per_tok\":2,\"rotary_dim\":8,\"num_local_experts\":4,"
        "\"scoring_func\":\"%s\"}";
    static const struct {
        const char *name;
        double number; /* in GGUF; 0: refused */
    } cases[] = { { "softmax", 1 }, { "sigmoid", 2 }, { "sqrtsoftplus", 4 }, { "softplus", 0 } };

    (void)unused;
    for (size_t i = 0; i < COUNT(cases); i++) {
        json_t *config = NULL;
        struct nb_hparams hp;
        struct nb_error err;
        char text[512];
        enum nb_status status;

        snprintf(text, sizeof text, format, cases[i].name);
        config = json_loads(text, JSON_DECODE_INT_AS_REAL, NULL);
        assert_non_null(config);
        status = nb_family_hparams(&nb_family_minimax_m2, config, "config.json", &hp, &err);
        if (cases[i].number == 0) {
            assert_int_equal(status, NB_UNSUPPORTED);
            assert_non_null(strstr(err.message, "scoring_func is 'softplus'"));
        } else {
            assert_int_equal(status, NB_OK);
            assert_true(nb_hp(&hp, NB_HP_EXPERT_GATING) == cases[i].number);
        }
        nb_hparams_free(&hp);
        json_decref(config);
    }
}

static void
an_expert_that_is_missing_is_named(void **unused)
{
    const struct nb_family family = family_of(by_expert, COUNT(by_expert));
    const struct nb_source_options options = { .family = &family };
    struct nb_source source;
    struct nb_error err;
    size_t size;
    unsigned char *bytes;
    char *at;

    (void)unused;
    write_model("one", EXPERT_BY_EXPERT);
    bytes = scratch_read(scratch_path("one/model.safetensors"), &size);
    bytes[size - 1] = 0;
    at = strstr((char *)bytes + 8, "experts.2.w3");
    assert_non_null(at);
    at[strlen("experts.")] = '9'; /* beyond the last */
    scratch_write("one/model.safetensors", bytes, size);
    free(bytes);
    assert_int_equal(nb_source_open(&source, scratch_path("one"), &options, &err), NB_INPUT);
    assert_non_null(strstr(err.message, "beyond the last"));
}

/* Stores that bypass the caches need alignment; all pitches and beginnings must give the same. */
static void
streamed_stores_transpose_like_any_others(void **unused)
{
    static const uint64_t pitches[] = { 64, 72, 61 };
    uint16_t from[40][24];
    _Alignas(16) uint16_t plain[24 * 80], streamed[24 * 80];

    (void)unused;
    for (uint16_t i = 0; i < 40; i++)
        for (uint16_t k = 0; k < 24; k++)
            from[i][k] = (uint16_t)(i * 24 + k);
    for (size_t p = 0; p < COUNT(pitches); p++)
        for (size_t at = 0; at < 16; at += 5) {
            const struct nb_matrix m = { (const unsigned char *)from, sizeof from[0][0], 24, 40 };

            memset(plain, 0xAA, sizeof plain);
            memset(streamed, 0xAA, sizeof streamed);
            nb_transpose(&m, 1, 23, (unsigned char *)(plain + at), pitches[p], false);
            nb_transpose(&m, 1, 23, (unsigned char *)(streamed + at), pitches[p], true);
            assert_int_equal(plain[at + 22 * pitches[p] + 39], from[39][23]);
            assert_memory_equal(plain, streamed, sizeof plain);
        }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(streamed_stores_transpose_like_any_others),
        cmocka_unit_test(architectures_are_written_in_names_that_exist),
        cmocka_unit_test(families_map_to_tensors_that_their_architecture_has),
        cmocka_unit_test(expressions_give_what_they_say),
        cmocka_unit_test(views_give_the_same_elements_however_they_are_read),
        cmocka_unit_test(stacked_columns_and_computed_elements_are_what_they_should_be),
        cmocka_unit_test(operations_that_do_not_fit_are_refused),
        cmocka_unit_test(rows_are_added_kept_and_columns_left_out),
        cmocka_unit_test(a_default_that_depends_on_the_layer_is_an_array),
        cmocka_unit_test(factors_of_the_config_multiply_weights_and_wrong_ones_are_refused),
        cmocka_unit_test(a_vector_is_folded_only_into_a_matrix_of_its_size),
        cmocka_unit_test(lists_of_layers_must_have_one_entry_per_layer),
        cmocka_unit_test(numbers_of_another_toolkit_come_through_the_same_function),
        cmocka_unit_test(a_family_is_only_a_table),
        cmocka_unit_test(a_router_with_an_unknown_function_is_refused),
        cmocka_unit_test(an_expert_that_is_missing_is_named),
    };

    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
