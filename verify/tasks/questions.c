#include "verify/tasks/questions.h"

#include "formats/base/file_in.h"
#include "formats/base/text.h"
#include "verify/tokenize/text_file.h"

#include <stdlib.h>
#include <string.h>

#define HELLASWAG_ENDINGS 4u
#define HELLASWAG_LINES 6u
#define MOST_ANSWERS 100u
#define MOST_BYTES ((uint64_t)1 << 30)

struct text {
    const char *at;
    size_t length;
};

/* --- making questions ----------------------------------------------------------------------------------------- */

static enum nb_status
begin_question(struct nb_questions *q, struct nb_error *err)
{
    if (q->count == q->room) {
        const size_t room = q->room == 0 ? 64 : 2 * q->room;
        struct nb_question *grown = realloc(q->question, room * sizeof *grown);

        if (grown == NULL)
            return nb_fail_memory(err);
        q->question = grown;
        q->room = room;
    }
    q->question[q->count++] = (struct nb_question){ q->answers, 0 };
    return NB_OK;
}

/* Adds to the last question the answer that is made of BEFORE, CHOICE and AFTER. */
static enum nb_status
add_answer(struct nb_questions *q, struct text before, const char *between, struct text choice, struct text after,
           bool right, struct nb_error *err)
{
    const size_t space = strlen(between), chosen = before.length + space + choice.length;
    char *text;

    if (q->answers == q->answer_room) {
        const size_t room = q->answer_room == 0 ? 256 : 2 * q->answer_room;
        struct nb_answer *grown = realloc(q->answer, room * sizeof *grown);

        if (grown == NULL)
            return nb_fail_memory(err);
        q->answer = grown;
        q->answer_room = room;
    }
    text = nb_arena_alloc(&q->arena, (uint64_t)chosen + after.length + 1);
    if (text == NULL)
        return nb_fail_memory(err);
    memcpy(text, before.at, before.length);
    memcpy(text + before.length, between, space);
    memcpy(text + before.length + space, choice.at, choice.length);
    memcpy(text + chosen, after.at, after.length);
    text[chosen + after.length] = '\0';
    q->answer[q->answers++] = (struct nb_answer){ text, chosen + after.length, chosen, right };
    q->question[q->count - 1].answers++;
    return NB_OK;
}

/* --- text ----------------------------------------------------------------------------------------------------- */

/* The next line of REST without its end; false after the last one. */
static bool
next_line(struct text *rest, struct text *line)
{
    const char *end;

    if (rest->length == 0)
        return false;
    end = memchr(rest->at, '\n', rest->length);
    *line = (struct text){ rest->at, end == NULL ? rest->length : (size_t)(end - rest->at) };
    rest->at += line->length + (end != NULL);
    rest->length -= line->length + (end != NULL);
    return true;
}

/* A digit from LOW to HIGH, with nothing but blanks around it; -1 if it is none. */
static int
digit(struct text t, int low, int high)
{
    int value;

    while (t.length > 0 && (t.at[0] == ' ' || t.at[0] == '\t')) {
        t.at++;
        t.length--;
    }
    while (t.length > 0 && strchr(" \t\r", t.at[t.length - 1]) != NULL && t.at[t.length - 1] != '\0')
        t.length--;
    value = t.length == 1 ? t.at[0] - '0' : -1;
    return value >= low && value <= high ? value : -1;
}

static enum nb_status
read_hellaswag(struct nb_questions *q, struct text rest, const char *path, size_t limit, struct nb_error *err)
{
    const struct text nothing = { "", 0 };
    struct text line[HELLASWAG_LINES];

    for (size_t number = 1; q->count < limit && rest.length > 0; number += HELLASWAG_LINES) {
        enum nb_status status = begin_question(q, err);
        size_t n = 0;
        int right;

        while (n < HELLASWAG_LINES && next_line(&rest, &line[n]))
            n++;
        if (n < HELLASWAG_LINES)
            return nb_fail(err, NB_INPUT, "%s: ends amid a question, which has %u lines", path, HELLASWAG_LINES);
        right = digit(line[1], 0, HELLASWAG_ENDINGS - 1);
        if (right < 0)
            return nb_fail(err, NB_INPUT, "%s: line %zu is not the number of an ending, from 0 to %u", path, number + 1,
                           HELLASWAG_ENDINGS - 1);
        for (unsigned i = 0; i < HELLASWAG_ENDINGS && status == NB_OK; i++)
            status = add_answer(q, line[0], " ", line[2 + i], nothing, i == (unsigned)right, err);
        if (status != NB_OK)
            return status;
    }
    return NB_OK;
}

/* The first four commas of LINE that are not in quotation marks. False if there are fewer. */
static bool
find_commas(struct text line, size_t comma[4])
{
    bool quoted = false;
    size_t n = 0;

    for (size_t i = 0; i < line.length && n < 4; i++) {
        if (line.at[i] == '"')
            quoted = !quoted;
        else if (line.at[i] == ',' && !quoted)
            comma[n++] = i;
    }
    return n == 4;
}

static struct text
between(struct text line, size_t from, size_t to)
{
    return (struct text){ line.at + from, to - from };
}

/* Adds the question that LINE has; false if it is none. */
static bool
take_winogrande(struct nb_questions *q, struct text line, enum nb_status *status, struct nb_error *err)
{
    struct text sentence, before, after;
    size_t comma[4];
    const char *gap;
    int right;

    if (!find_commas(line, comma))
        return false;
    sentence = between(line, comma[0] + 1, comma[1]);
    if (sentence.length >= 2 && sentence.at[0] == '"')
        sentence = between(line, comma[0] + 2, comma[1] - 1);
    gap = memchr(sentence.at, '_', sentence.length);
    right = digit(between(line, comma[3] + 1, line.length), 1, 2);
    if (gap == NULL || right < 0)
        return false;
    before = (struct text){ sentence.at, (size_t)(gap - sentence.at) };
    after = (struct text){ gap + 1, sentence.length - before.length - 1 };
    *status = begin_question(q, err);
    for (size_t i = 0; i < 2 && *status == NB_OK; i++)
        *status = add_answer(q, before, "", between(line, comma[1 + i] + 1, comma[2 + i]), after, right == (int)i + 1,
                             err);
    return true;
}

static enum nb_status
read_winogrande(struct nb_questions *q, struct text rest, const char *path, size_t limit, struct nb_error *err)
{
    enum nb_status status = NB_OK;
    struct text line;

    for (size_t number = 1; q->count < limit && status == NB_OK && next_line(&rest, &line); number++)
        if (line.length > 0 && !take_winogrande(q, line, &status, err))
            return nb_fail(err, NB_INPUT, "%s: line %zu is not 'index,sentence with _,first,second,1 or 2'", path,
                           number);
    return status;
}

/* --- binary --------------------------------------------------------------------------------------------------- */

static bool
take_number(struct text *rest, uint32_t *number)
{
    if (rest->length < sizeof *number)
        return false;
    memcpy(number, rest->at, sizeof *number);
    rest->at += sizeof *number;
    rest->length -= sizeof *number;
    return true;
}

static bool
take_text(struct text *rest, struct text *text)
{
    uint32_t length;

    if (!take_number(rest, &length) || length > rest->length)
        return false;
    *text = (struct text){ rest->at, length };
    rest->at += length;
    rest->length -= length;
    return true;
}

struct answers {
    uint32_t count;
    struct text text[MOST_ANSWERS];
    const char *right; /* COUNT numbers */
};

static bool
take_answers(struct text *rest, struct answers *a)
{
    if (!take_number(rest, &a->count) || a->count > MOST_ANSWERS)
        return false;
    for (uint32_t i = 0; i < a->count; i++)
        if (!take_text(rest, &a->text[i]))
            return false;
    a->right = rest->at;
    if (rest->length < a->count * sizeof(uint32_t))
        return false;
    rest->at += a->count * sizeof(uint32_t);
    rest->length -= a->count * sizeof(uint32_t);
    return true;
}

static enum nb_status
take_question(struct nb_questions *q, struct text text, const struct answers *a, struct nb_error *err)
{
    const struct text nothing = { "", 0 };
    enum nb_status status = begin_question(q, err);

    for (uint32_t i = 0; i < a->count && status == NB_OK; i++) {
        uint32_t right;

        memcpy(&right, a->right + i * sizeof right, sizeof right);
        status = add_answer(q, text, " ", a->text[i], nothing, right == 1, err);
    }
    return status;
}

static enum nb_status
read_multiple_choice(struct nb_questions *q, struct text rest, const char *path, size_t limit, struct nb_error *err)
{
    enum nb_status status = NB_OK;
    struct answers first, second;
    struct text text;
    uint32_t count;

    if (!take_number(&rest, &count) || count == 0 || count > rest.length / sizeof count)
        return nb_fail(err, NB_INPUT, "%s: is not a file of questions and answers", path);
    rest.at += count * sizeof count;
    rest.length -= count * sizeof count;
    for (uint32_t i = 0; i < count && q->count < limit && status == NB_OK; i++) {
        if (!take_text(&rest, &text) || !take_answers(&rest, &first) || !take_answers(&rest, &second))
            return nb_fail(err, NB_INPUT, "%s: question %u of %u is cut off or damaged", path, (unsigned)i + 1,
                           (unsigned)count);
        if (text.length == 0 || first.count == 0)
            return nb_fail(err, NB_INPUT, "%s: question %u has no %s", path, (unsigned)i + 1,
                           text.length == 0 ? "text" : "answers");
        for (uint32_t k = 0; k < first.count; k++)
            if (first.text[k].length == 0)
                return nb_fail(err, NB_INPUT, "%s: question %u has an empty answer", path, (unsigned)i + 1);
        status = take_question(q, text, &first, err);
    }
    return status;
}

/* -------------------------------------------------------------------------------------------------------------- */

enum nb_status
nb_questions_read(struct nb_questions *q, enum nb_question_kind kind, const char *path, size_t limit,
                  struct nb_error *err)
{
    struct text all;
    char *bytes;
    enum nb_status status = kind == NB_MULTIPLE_CHOICE ? nb_file_load(path, MOST_BYTES, &bytes, &all.length, err)
                                                       : nb_text_file_load(path, &bytes, &all.length, err);

    *q = (struct nb_questions){ .kind = kind };
    if (status != NB_OK)
        return status;
    limit = limit == 0 ? SIZE_MAX : limit;
    all.at = bytes;
    switch (kind) {
    case NB_HELLASWAG:
        status = read_hellaswag(q, all, path, limit, err);
        break;
    case NB_WINOGRANDE:
        status = read_winogrande(q, all, path, limit, err);
        break;
    default:
        status = read_multiple_choice(q, all, path, limit, err);
        break;
    }
    free(bytes);
    if (status == NB_OK && q->count == 0)
        status = nb_fail(err, NB_INPUT, "%s: has no questions", path);
    for (size_t i = 0; i < q->answers && status == NB_OK; i++)
        if (!nb_utf8_valid(q->answer[i].text, q->answer[i].length))
            status = nb_fail(err, NB_INPUT, "%s: not valid UTF-8", path);
    if (status != NB_OK)
        nb_questions_free(q);
    return status;
}

void
nb_questions_free(struct nb_questions *q)
{
    free(q->question);
    free(q->answer);
    nb_arena_free(&q->arena);
    *q = (struct nb_questions){ 0 };
}
