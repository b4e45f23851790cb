#include "cli/verify_page.h"

#include "cli/cli.h"
#include "cli/verdict.h"
#include "formats/base/json.h"
#include "formats/base/system.h"
#include "formats/base/text.h"
#include "formats/elements/tier.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

/* The page with @DATA@ for the numbers; made from report.html by CMake. */
static const unsigned char page_bytes[] = {
#include "report_html.h"
    , 0
};
#define PLACE "@DATA@"

/* Without its folders: the page goes to others, whom those are no concern of. */
static void
keep_base_name(json_t *object, const char *key)
{
    cli_json_set(object, key, cli_json_text(nb_base_name(json_string_value(json_object_get(object, key)))));
}

/* The same for the tasks in REPORT. */
static void
keep_base_names_of_tasks(json_t *report)
{
    json_t *task, *model;
    size_t i, k;

    json_array_foreach(json_object_get(report, "tasks"), i, task) {
        keep_base_name(task, "file");
        json_array_foreach(json_object_get(task, "models"), k, model)
            keep_base_name(model, "path");
    }
}

/* The mean divergence of every chunk. */
static json_t *
chunks_json(const struct nb_drift *d, size_t model)
{
    const size_t n = d->scored / d->chunks;
    json_t *list = cli_json_array();

    for (uint32_t c = 0; c < d->chunks; c++) {
        double sum = 0;

        for (size_t i = c * n; i < (c + 1) * n; i++)
            sum += (double)d->score[model][i].kld;
        cli_json_add(list, cli_json_real(sum / (double)n));
    }
    return list;
}

/* Name and type of each tensor. */
static json_t *
types_json(const struct nb_source *source)
{
    json_t *list = cli_json_array();

    for (size_t i = 0; i < source->n_tensors; i++)
        cli_json_add(list, cli_json("{s:s, s:s}", "name", source->tensors[i].name, "type",
                                    nb_type_info(source->tensors[i].type)->name));
    return list;
}

/* The words of the command; arguments that name files do so without folders. */
static json_t *
command_json(const struct cli_line *line)
{
    json_t *words = cli_json_array();

    cli_json_add(words, cli_json_text("nibble"));
    cli_json_add(words, cli_json_text(line->command->name));
    for (size_t i = 0; i < line->n_given; i++) {
        cli_json_add(words, json_sprintf("--%s", line->given[i].option->name));
        if (line->given[i].text != NULL)
            cli_json_add(words, cli_json_text(nb_base_name(line->given[i].text)));
    }
    for (size_t i = 0; i < line->n_operands; i++)
        cli_json_add(words, cli_json_text(nb_base_name(line->operands[i])));
    return words;
}

/* "AMD EPYC 7763, Linux x86_64, 2 threads, avx2 kernels"; its name in the network is nobody's business. */
static json_t *
machine_json(unsigned threads)
{
    char processor[128];
    struct utsname system;
    const bool named = nb_system_cpu_name(processor, sizeof processor), known = uname(&system) >= 0;

    if (threads == 0)
        threads = nb_system_processors();
    return json_sprintf("%s%s%s%s%s%s%u thread%s, %s kernels", named ? processor : "", named ? ", " : "",
                        known ? system.sysname : "", known ? " " : "", known ? system.machine : "", known ? ", " : "",
                        threads, threads == 1 ? "" : "s", nb_tier());
}

static json_t *
verdicts_json(void)
{
    json_t *list = cli_json_array();

    for (size_t i = 0; i < VERDICTS; i++) {
        json_t *o = cli_json("{s:s, s:s}", "level", verdicts[i].level, "words", verdicts[i].words);

        if (isfinite(verdicts[i].limit))
            cli_json_set(o, "limit", cli_json_real(verdicts[i].limit));
        if (verdicts[i].recipe != NULL)
            cli_json_set(o, "recipe", cli_json_text(verdicts[i].recipe));
        cli_json_add(list, o);
    }
    return list;
}

/* What the page has, as text from malloc; NULL if out of memory. */
static char *
page_data(const struct verify_report *r)
{
    json_t *object = verify_report_object(r), *base = json_object_get(object, "base");
    char date[CLI_TEXT] = "", *text;
    const time_t now = time(NULL);
    struct tm utc;

    for (size_t i = 1; i < r->models; i++) {
        json_t *model = json_array_get(json_object_get(object, "models"), i - 1);

        cli_json_set(model, "kld_by_chunk", chunks_json(&r->drift, i));
        keep_base_name(model, "path");
    }
    keep_base_name(base, "path");
    keep_base_name(object, "text");
    keep_base_names_of_tasks(object);
    cli_json_set(base, "tensors", types_json(&r->source[0]));
    if (gmtime_r(&now, &utc) != NULL)
        strftime(date, sizeof date, "%Y-%m-%d %H:%M UTC", &utc);
    cli_json_set(object, "date", cli_json_text(date));
    cli_json_set(object, "version", cli_json_text(NB_VERSION));
    cli_json_set(object, "command", command_json(r->line));
    cli_json_set(object, "machine", machine_json(r->threads));
    cli_json_set(object, "verdicts", verdicts_json());
    text = nb_json_dump(object, JSON_COMPACT | JSON_REAL_PRECISION(7));
    json_decref(object);
    return text;
}

/* TEXT without "</", which would end the script that it stands in. */
static void
write_json(FILE *file, const char *text)
{
    for (; *text != '\0'; text++) {
        if (text[0] == '<')
            fputs("\\u003c", file);
        else
            fputc(*text, file);
    }
}

enum nb_status
verify_page_write(const struct verify_report *r, const char *name, struct nb_error *err)
{
    const char *page = (const char *)page_bytes, *place = strstr(page, PLACE);
    char *text = page_data(r), *whole = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&whole, &size);
    bool failed = file == NULL || text == NULL || cli_has_lost();
    enum nb_status status;

    if (file != NULL && text != NULL) {
        fwrite(page, 1, (size_t)(place - page), file);
        write_json(file, text);
        fputs(place + strlen(PLACE), file);
    }
    if (file != NULL)
        failed |= !nb_close_text(file, &whole);
    if (failed) {
        status = nb_fail_memory(err);
    } else {
        status = cli_write_file(name, whole, size, err);
    }
    free(text);
    free(whole);
    return status;
}
