/*
 * Ollama's store, as its own code writes it: blobs by their SHA-256, and a manifest by the model's name that lists them.
 * The bytes are those of Go's JSON encoder. The chat template stays in the GGUF file, where Ollama finds it.
 */
#include "cli/install/install.h"

#include "formats/base/file_in.h"
#include "formats/base/folder.h"
#include "formats/base/json_write.h"
#include "formats/base/text.h"
#include "formats/gguf/metadata.h"
#include "verify/check/hash.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define IMAGE "application/vnd.ollama.image."
#define CONFIG_TYPE "application/vnd.docker.container.image.v1+json"
#define MANIFEST_TYPE "application/vnd.docker.distribution.manifest.v2+json"
#define LICENSE_LIMIT ((uint64_t)1 << 20)
#define MAX_PART 80 /* characters of a part of a name */

/* --- what the file says ------------------------------------------------------------------------------------------ */

/* Ollama's names of the values of general.file_type; NULL: it has none. */
static const char *const file_types[] = {
    "F32",    "F16",     "Q4_0",   "Q4_1",   NULL,     NULL,        NULL,     "Q8_0",  "Q5_0",    "Q5_1",   "Q2_K",
    "Q3_K_S", "Q3_K_M",  "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_S",    "Q5_K_M", "Q6_K",  "IQ2_XXS", "IQ2_XS", "Q2_K_S",
    "IQ3_XS", "IQ3_XXS", "IQ1_S",  "IQ4_NL", "IQ3_S",  "IQ3_M",     "IQ2_S",  "IQ2_M", "IQ4_XS",  "IQ1_M",  "BF16",
    NULL,     NULL,      NULL,     "TQ1_0",  "TQ2_0",  "MXFP4_MOE", "NVFP4",  "Q1_0",
};

static const char *
file_type(const struct nb_metadata *meta)
{
    uint64_t number;
    const bool known = nb_meta_get_u64(meta, "general.file_type", &number) &&
                       number < sizeof file_types / sizeof file_types[0] && file_types[number] != NULL;

    return known ? file_types[number] : "unknown";
}

/* "3.67M", as Ollama shortens the number of parameters. */
static char *
human_number(struct install *in, uint64_t count)
{
    if (count >= 1000000000)
        return install_text(in, count % 1000000000 == 0 ? "%.0fB" : "%.1fB", (double)count / 1e9);
    if (count >= 1000000)
        return install_text(in, count % 1000000 == 0 ? "%.0fM" : "%.2fM", (double)count / 1e6);
    return count >= 1000 ? install_text(in, "%.0fK", (double)count / 1e3) : install_text(in, "%d", (int)count);
}

/* The shortest double that is read as the float NUMBER, which is how Go writes it. */
static double
shortest(double number)
{
    char text[32];

    for (int digits = 1; digits < 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, number);
        if (strtof(text, NULL) == (float)number)
            break;
    }
    return strtod(text, NULL);
}

json_t *
install_parameters(const struct nb_metadata *meta)
{
    static const struct {
        const char *name, *key;
        bool whole;
    } known[] = {
        { "min_p", "general.sampling.min_p", false },
        { "repeat_last_n", "general.sampling.penalty_last_n", true },
        { "repeat_penalty", "general.sampling.penalty_repeat", false },
        { "temperature", "general.sampling.temp", false },
        { "top_k", "general.sampling.top_k", true },
        { "top_p", "general.sampling.top_p", false },
    };
    json_t *object = json_object();

    for (size_t i = 0; i < sizeof known / sizeof known[0] && object != NULL; i++) {
        double number;

        if (nb_meta_get_f64(meta, known[i].key, &number) &&
            json_object_set_new(object, known[i].name,
                                known[i].whole || number == (double)(json_int_t)number
                                    ? json_integer((json_int_t)number)
                                    : json_real(shortest(number))) != 0) {
            json_decref(object);
            object = NULL;
        }
    }
    return object;
}

/* --- JSON as Go writes it ---------------------------------------------------------------------------------------- */

/* OBJECT, which is released, with a line feed behind it; the characters that mean something in HTML are escaped. */
static char *
go_json(struct install *in, json_t *object)
{
    char *text = object == NULL ? NULL : nb_json_write(object, NB_JSON_COMPACT);
    char *out = text == NULL ? NULL : nb_arena_alloc(&in->arena, 6 * strlen(text) + 2), *to = out;

    for (const char *p = text; out != NULL && *p != '\0'; p++) {
        if (strchr("<>&", *p) == NULL)
            *to++ = *p;
        else
            to += sprintf(to, "\\u%04x", (unsigned)(unsigned char)*p);
    }
    if (out != NULL)
        memcpy(to, "\n", 2);
    free(text);
    json_decref(object);
    return out;
}

/* --- names ------------------------------------------------------------------------------------------------------- */

static bool
is_part(const char *text, size_t length, bool dots)
{
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)text[i]) && text[i] != '_' && (i == 0 || text[i] != '-') &&
            (i == 0 || !dots || text[i] != '.'))
            return false;
    return length > 0 && length <= MAX_PART;
}

/* "model:TYPE" of "model-TYPE.gguf". */
static char *
default_name(struct install *in)
{
    const char *base = install_base_name(in), *type = file_type(&in->source->meta);
    const size_t n = base == NULL ? 0 : strlen(base), t = strlen(type);
    char *name;

    if (base == NULL)
        return NULL;
    name = n > t + 1 && strcasecmp(base + n - t, type) == 0 && strchr("-.", base[n - t - 1]) != NULL
               ? install_text(in, "%.*s:%s", (int)(n - t - 1), base, type)
               : install_text(in, "%s", base);
    for (char *p = name; p != NULL && *p != '\0' && *p != ':'; p++)
        *p = (char)tolower((unsigned char)*p);
    return name;
}

/* The parts of "[host/][namespace/]model[:tag]". */
struct model_name {
    const char *part[4]; /* host, namespace, model, tag */
};

static enum nb_status
parse_name(struct install *in, struct model_name *out)
{
    char *text = in->name == NULL ? default_name(in) : install_text(in, "%s", in->name), *colon, *slash;
    bool good = true;

    if (text == NULL)
        return nb_fail_memory(in->err);
    in->name = install_text(in, "%s", text);
    *out = (struct model_name){ { "registry.ollama.ai", "library", text, "latest" } };
    slash = strrchr(text, '/');
    colon = strchr(slash == NULL ? text : slash, ':');
    if (colon != NULL) {
        *colon = '\0';
        out->part[3] = colon + 1;
    }
    for (int i = 1; i >= 0 && slash != NULL; i--) {
        *slash = '\0';
        out->part[i + 1] = slash + 1;
        out->part[i] = text;
        slash = strrchr(text, '/');
        if (i == 0 && slash != NULL)
            good = false;
    }
    good = good &&
           strspn(out->part[0], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-:") ==
               strlen(out->part[0]) &&
           isalnum((unsigned char)*out->part[0]) && is_part(out->part[1], strlen(out->part[1]), false) &&
           is_part(out->part[2], strlen(out->part[2]), true) && is_part(out->part[3], strlen(out->part[3]), true);
    return good && in->name != NULL
               ? NB_OK
               : nb_fail(in->err, NB_USAGE, "--name: '%s' is not [HOST/][NAMESPACE/]MODEL[:TAG], as Ollama has names",
                         in->name);
}

/* PART as a name in FOLDER has it already in other letters: to Ollama both are the same. */
static enum nb_status
existing_case(struct install *in, const char *path, const char **part)
{
    struct nb_folder folder;
    const char *name = NULL;
    enum nb_status status = nb_folder_open(&folder, path, in->err);

    if (status != NB_OK)
        return status;
    while ((status = nb_folder_next(&folder, &name, in->err)) == NB_OK && name != NULL)
        if (strcasecmp(name, *part) == 0) {
            *part = install_text(in, "%s", name);
            break;
        }
    nb_folder_close(&folder);
    return status == NB_OK && *part == NULL ? nb_fail_memory(in->err) : status;
}

static enum nb_status
manifest_path(struct install *in, const char *root, struct model_name *name, char **path)
{
    enum nb_status status = NB_OK;

    *path = install_text(in, "%s/manifests", root);
    for (int i = 0; i < 4 && status == NB_OK && *path != NULL; i++) {
        status = existing_case(in, *path, &name->part[i]);
        if (status == NB_OK)
            *path = install_text(in, "%s/%s", *path, name->part[i]);
    }
    return status == NB_OK && *path == NULL ? nb_fail_memory(in->err) : status;
}

/* --- the store --------------------------------------------------------------------------------------------------- */

/* Adds the layer of a blob to LAYERS. */
static enum nb_status
add_layer(struct install *in, json_t *layers, const char *type, const char *digest, uint64_t size)
{
    json_t *entry = json_pack("{s:s, s:o, s:I}", "mediaType", type, "digest", json_sprintf("sha256:%s", digest), "size",
                              (json_int_t)size);

    return json_array_append_new(layers, entry) == 0 ? NB_OK : nb_fail_memory(in->err);
}

/* Writes BYTES as a blob, and adds its layer. */
static enum nb_status
add_blob(struct install *in, const char *root, const char *bytes, size_t size, const char *type, json_t *layers)
{
    unsigned char digest[NB_HASH_MAX];
    char text[2 * NB_HASH_MAX + 1], *path;
    bool there;
    enum nb_status status;

    if (bytes == NULL || !nb_hash_bytes(NB_HASH_SHA256, bytes, size, digest))
        return nb_fail_memory(in->err);
    nb_hash_text(NB_HASH_SHA256, digest, text);
    path = install_text(in, "%s/blobs/sha256-%s", root, text);
    if (path == NULL)
        return nb_fail_memory(in->err);
    status = install_look(in, path, &there);
    if (status == NB_OK && !there)
        status = install_bytes(in, path, bytes, size, false);
    return status == NB_OK ? add_layer(in, layers, type, text, size) : status;
}

static enum nb_status
add_license(struct install *in, const char *root, json_t *layers)
{
    char *text;
    size_t length;
    enum nb_status status;

    if (in->license == NULL)
        return NB_OK;
    status = nb_file_load(in->license, LICENSE_LIMIT, &text, &length, in->err);
    if (status != NB_OK)
        return status;
    status = add_blob(in, root, text, length, IMAGE "license", layers);
    free(text);
    return status;
}

static enum nb_status
add_parameters(struct install *in, const char *root, json_t *layers)
{
    json_t *object = install_parameters(&in->source->meta);
    char *text;

    if (object == NULL)
        return nb_fail_memory(in->err);
    if (json_object_size(object) == 0) {
        json_decref(object);
        return NB_OK;
    }
    text = go_json(in, object);
    return add_blob(in, root, text, text == NULL ? 0 : strlen(text), IMAGE "params", layers);
}

static enum nb_status
add_config(struct install *in, const char *root, json_t *layers)
{
    const struct nb_metadata *meta = &in->source->meta;
    const char *family = nb_meta_get_string(meta, "general.architecture");
    char *text = go_json(in, json_pack("{s:s, s:s, s:[s], s:s, s:s, s:s, s:s}", "model_format", "gguf", "model_family",
                                       family, "model_families", family, "model_type",
                                       human_number(in, nb_source_parameters(in->source)), "file_type", file_type(meta),
                                       "architecture", "amd64", "os", "linux"));

    return add_blob(in, root, text, text == NULL ? 0 : strlen(text), CONFIG_TYPE, layers);
}

/* The manifest, of layers of which the first is the config. */
static char *
manifest_text(struct install *in, json_t *layers)
{
    json_t *config = json_incref(json_array_get(layers, 0));

    (void)json_array_remove(layers, 0);
    return go_json(in, json_pack("{s:i, s:s, s:o, s:O}", "schemaVersion", 2, "mediaType", MANIFEST_TYPE, "config",
                                 config, "layers", layers));
}

/* Blobs come first and the manifest last: a server that starts meanwhile sees nothing half. */
static enum nb_status
write_store(struct install *in, const char *root, const char *manifest, json_t *layers)
{
    const struct nb_file_in *file = &in->source->store.files[0];
    char *blob = install_text(in, "%s/blobs/sha256-%s", root, in->digests[0]), *text;
    enum nb_status status = blob == NULL ? nb_fail_memory(in->err) : install_file(in, file->name, blob, true);

    if (status == NB_OK)
        status = add_config(in, root, layers);
    if (status == NB_OK)
        status = add_layer(in, layers, IMAGE "model", in->digests[0], file->size);
    if (status == NB_OK)
        status = add_license(in, root, layers);
    if (status == NB_OK)
        status = add_parameters(in, root, layers);
    if (status != NB_OK)
        return status;
    text = manifest_text(in, layers);
    return text == NULL ? nb_fail_memory(in->err) : install_bytes(in, manifest, text, strlen(text), in->force);
}

enum nb_status
install_ollama(struct install *in)
{
    struct model_name name;
    const char *root;
    char *manifest;
    json_t *layers;
    enum nb_status status = parse_name(in, &name);

    if (status == NB_OK && nb_meta_get_string(&in->source->meta, "general.architecture") == NULL)
        status = nb_fail(in->err, NB_INPUT, "%s: names no architecture", in->source->path);
    if (status == NB_OK && in->source->store.n_files > 1)
        status = nb_fail(in->err, NB_UNSUPPORTED, "%s: Ollama keeps a model in one file: 'nibble merge' makes it",
                         in->source->path);
    if (status == NB_OK)
        status = install_root(in, "OLLAMA_MODELS", ".ollama/models", &root);
    if (status == NB_OK)
        status = manifest_path(in, root, &name, &manifest);
    if (status == NB_OK)
        status = install_check(in, manifest, "Ollama has a model of this name already (--force replaces it)");
    if (status != NB_OK)
        return status;
    layers = json_array();
    status = layers == NULL ? nb_fail_memory(in->err) : write_store(in, root, manifest, layers);
    json_decref(layers);
    if (status == NB_OK)
        in->run = install_text(in, "ollama run %s", in->name);
    return status;
}
