/*
 * Questions with answers to choose from, from the files that llama-perplexity reads: what is scored is which answer a model
 * finds the likeliest continuation.
 */
#ifndef NB_QUESTIONS_H
#define NB_QUESTIONS_H

#include "formats/base/arena.h"
#include "formats/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum nb_question_kind {
    /* Text; six lines for each question: the context, the number of the right ending from 0, four endings. */
    NB_HELLASWAG,
    /*
     * Lines "index,sentence,first,second,right": the first '_' of the sentence stands for one of two choices, RIGHT is 1 or 2.
     * A sentence with commas is in quotation marks, and what is in them is taken as it stands.
     */
    NB_WINOGRANDE,
    /*
     * Binary, 32-bit numbers, little-endian: the number of questions; of each its place in the file, which is not needed
     * here; then of each its text, and two lists of answers, of which the first counts. A text is its length and its bytes,
     * a list the number of answers (at most 100), their texts, and for each 1 if it is right, else 0.
     */
    NB_MULTIPLE_CHOICE,
    NB_QUESTION_KINDS,
};

/* A question with one of its answers in its place. */
struct nb_answer {
    const char *text;
    size_t length;
    size_t chosen; /* Winogrande: the bytes up to the end of the choice */
    bool right;
};

struct nb_question {
    size_t first; /* of its answers */
    uint32_t answers;
};

struct nb_questions {
    enum nb_question_kind kind;
    struct nb_question *question;
    size_t count, room;
    struct nb_answer *answer; /* of all questions */
    size_t answers, answer_room;
    struct nb_arena arena; /* has the texts */
};

/* Reads the first LIMIT questions of the file PATH (0: all); there is at least one. */
enum nb_status nb_questions_read(struct nb_questions *questions, enum nb_question_kind kind, const char *path,
                                 size_t limit, struct nb_error *err) NB_MUST_CHECK;
void nb_questions_free(struct nb_questions *questions);

#endif
