#include "cli/utterance.h"

#include <stdlib.h>
#include <string.h>

enum nb_status
utterance_read(struct utterance *u, const struct nb_tokenizer *t, struct nb_error *err)
{
    const struct nb_ids *ids = &u->said.ids;

    u->text = nb_text_of(t, ids->id, ids->count, &u->length);
    u->end = malloc((ids->count + 1) * sizeof *u->end);
    if (u->text == NULL || u->end == NULL)
        return nb_fail_memory(err);
    for (size_t i = 0, at = 0; i < ids->count; i++) {
        size_t n;
        char *piece = nb_text_of(t, &ids->id[i], 1, &n);

        if (piece == NULL)
            return nb_fail_memory(err);
        free(piece);
        u->end[i] = at += n;
    }
    return NB_OK;
}

void
utterance_compare(struct utterance *u, const struct utterance *base, bool same_vocabulary)
{
    const struct nb_ids *own = &u->said.ids, *other = &base->said.ids;
    size_t same = 0;

    u->compared = true;
    u->by_text = !same_vocabulary;
    u->of_base = other->count;
    u->agrees = 0;
    if (same_vocabulary) {
        while (u->agrees < own->count && u->agrees < other->count && own->id[u->agrees] == other->id[u->agrees])
            u->agrees++;
        return;
    }
    while (same < u->length && same < base->length && u->text[same] == base->text[same])
        same++;
    while (u->agrees < own->count && u->end[u->agrees] <= same)
        u->agrees++;
}

bool
utterance_is_same(const struct utterance *u)
{
    return u->agrees == u->said.ids.count && (u->by_text || u->agrees == u->of_base);
}

struct cli_side
utterance_side(const struct utterance *u)
{
    struct cli_side side = { .title = u->path, .text = u->text, .length = u->length, .from = u->length };

    if (u->compared && u->agrees < u->said.ids.count) {
        side.from = u->agrees == 0 ? 0 : u->end[u->agrees - 1];
        side.to = u->end[u->agrees];
        while (side.from + 1 < side.to && u->text[side.from] == ' ') /* what can be seen is marked */
            side.from++;
    }
    return side;
}

static json_t *
ids_json(const struct nb_ids *ids)
{
    json_t *list = cli_json_array();

    for (size_t i = 0; i < ids->count; i++)
        cli_json_add(list, cli_json_integer(ids->id[i]));
    return list;
}

json_t *
utterance_json(const struct utterance *u)
{
    static const char *const stops[] = {
        [NB_STOP_LENGTH] = "length", [NB_STOP_END] = "end", [NB_STOP_CONTEXT] = "context"
    };
    json_t *object = cli_json("{s:s, s:o, s:o}", "path", u->path, "prompt_ids", ids_json(&u->prompt), "ids",
                              ids_json(&u->said.ids));

    cli_json_set(object, "text", cli_json_textn(u->text, u->length));
    cli_json_set(object, "stopped_by", cli_json_text(stops[u->said.stop]));
    cli_json_set(object, "prompt_seconds", cli_json_real(u->said.prompt_seconds));
    cli_json_set(object, "seconds", cli_json_real(u->said.seconds));
    if (u->compared)
        cli_json_set(object, "agrees", cli_json_integer((json_int_t)u->agrees));
    return object;
}

void
utterance_free(struct utterance *u)
{
    nb_ids_free(&u->prompt);
    nb_continuation_free(&u->said);
    free(u->text);
    free(u->end);
    *u = (struct utterance){ 0 };
}
