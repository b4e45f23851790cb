#include "formats/base/hub.h"

#include "formats/base/file_in.h"
#include "formats/base/folder.h"
#include "formats/base/text.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMMIT 40 /* characters of the name of a snapshot */

enum nb_status
nb_hub_cache(char **folder, struct nb_error *err)
{
    static const struct {
        const char *variable, *inside;
    } places[] = {
        { "HF_HUB_CACHE", "" },
        { "HUGGINGFACE_HUB_CACHE", "" },
        { "HF_HOME", "/hub" },
        { "XDG_CACHE_HOME", "/huggingface/hub" },
        { "HOME", "/.cache/huggingface/hub" },
    };

    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        const char *value = getenv(places[i].variable);

        if (value != NULL && *value != '\0') {
            *folder = nb_joined(value, places[i].inside);
            return *folder == NULL ? nb_fail_memory(err) : NB_OK;
        }
    }
    *folder = NULL;
    return nb_fail(err, NB_USAGE, "HOME is not set, so that it is not known where Hugging Face's cache is");
}

bool
nb_is_hub_name(const char *name)
{
    const char *slash = NULL;

    for (const char *p = name; *p != '\0'; p++) {
        const bool begins = p == name || p[-1] == '/', ends = p[1] == '\0' || p[1] == '/';

        if (*p == '/' && slash == NULL && !begins && !ends)
            slash = p;
        else if (!isalnum((unsigned char)*p) && *p != '_' && (begins || ends || (*p != '-' && *p != '.')))
            return false;
    }
    return slash != NULL && strstr(name, "--") == NULL && strstr(name, "..") == NULL;
}

/* A text from malloc that is FOLDER/MIDDLE/NAME; NULL if out of memory. */
static char *
path_of(const char *folder, const char *middle, const char *name)
{
    const size_t size = strlen(folder) + strlen(middle) + strlen(name) + 3;
    char *path = malloc(size);

    if (path != NULL)
        snprintf(path, size, "%s/%s/%s", folder, middle, name);
    return path;
}

/* The folder that the cache has for the model NAME, from malloc; NULL if out of memory. */
static char *
folder_of(const char *cache, const char *name)
{
    const size_t slash = strcspn(name, "/");
    char *inner = malloc(strlen(name) + 16), *folder = NULL;

    if (inner != NULL) {
        sprintf(inner, "models--%.*s--%s", (int)slash, name, name + slash + 1);
        folder = path_of(cache, ".", inner);
    }
    free(inner);
    return folder;
}

/* The snapshot that refs/main of FOLDER names, from malloc; NULL, without an error, if it names none that is there. */
static enum nb_status
main_snapshot(const char *folder, char **snapshot, struct nb_error *err)
{
    char *ref = path_of(folder, "refs", "main"), *commit = NULL;
    size_t length;
    enum nb_status status = ref == NULL ? nb_fail_memory(err) : NB_OK;

    *snapshot = NULL;
    if (status == NB_OK && nb_is_file(ref))
        status = nb_file_load(ref, 4096, &commit, &length, err);
    free(ref);
    if (status != NB_OK || commit == NULL)
        return status;
    commit[strcspn(commit, "\r\n")] = '\0';
    if (strlen(commit) == COMMIT && strspn(commit, "0123456789abcdef") == COMMIT) {
        *snapshot = path_of(folder, "snapshots", commit);
        status = *snapshot == NULL ? nb_fail_memory(err) : NB_OK;
    }
    free(commit);
    if (*snapshot != NULL && !nb_is_folder(*snapshot)) {
        free(*snapshot);
        *snapshot = NULL;
    }
    return status;
}

/* Whether NAME is that of a GGUF file to name: one that is a model, and of split ones the first. */
static bool
is_model(const char *name)
{
    static const char of[] = "-of-";
    const char *part = strstr(name, of);

    if (!nb_ends_with(name, ".gguf") || strstr(name, "mmproj") != NULL || strstr(name, "imatrix") != NULL)
        return false;
    return part == NULL || part - name < 6 || strncmp(part - 6, "-00001", 6) == 0;
}

/* If the folder *PATH has GGUF files and no checkpoint: the only one takes its place. */
static enum nb_status
choose_file(const char *name, char **path, struct nb_error *err)
{
    char *config = path_of(*path, ".", "config.json"), *file = NULL;
    struct nb_folder folder;
    const char *entry;
    size_t count = 0;
    enum nb_status status = config == NULL ? nb_fail_memory(err) : NB_OK;

    if (status != NB_OK || nb_exists(config)) {
        free(config);
        return status;
    }
    free(config);
    status = nb_folder_open(&folder, *path, err);
    if (status != NB_OK)
        return status;
    while (status == NB_OK && (status = nb_folder_next(&folder, &entry, err)) == NB_OK && entry != NULL)
        if (is_model(entry) && count++ == 0 && (file = path_of(*path, ".", entry)) == NULL)
            status = nb_fail_memory(err);
    nb_folder_close(&folder);
    if (status == NB_OK && count > 1)
        status = nb_fail(err, NB_USAGE, "%s: the cache has %zu GGUF files of it: name one of those in %s", name, count,
                         *path);
    if (status == NB_OK && count == 1) {
        free(*path);
        *path = file;
        file = NULL;
    }
    free(file);
    return status;
}

enum nb_status
nb_hub_find(const char *name, char **path, struct nb_error *err)
{
    char *cache, *folder;
    enum nb_status status = nb_hub_cache(&cache, err);

    *path = NULL;
    if (status != NB_OK)
        return status;
    folder = folder_of(cache, name);
    status = folder == NULL ? nb_fail_memory(err) : main_snapshot(folder, path, err);
    if (status == NB_OK && *path == NULL)
        status = nb_fail(err, NB_NOT_FOUND,
                         "%s: is no file or folder here, and Hugging Face's cache, %s, has no model of this name "
                         "(nibble downloads nothing)",
                         name, cache);
    if (status == NB_OK)
        status = choose_file(name, path, err);
    free(folder);
    free(cache);
    if (status != NB_OK) {
        free(*path);
        *path = NULL;
    }
    return status;
}

bool
nb_hub_name(const char *real, char *id, size_t size)
{
    static const char snapshots[] = "/snapshots", models[] = "models--";
    const char *hash = strrchr(real, '/'), *end, *from;
    char *dashes;

    if (hash == NULL || strlen(hash + 1) != COMMIT || strspn(hash + 1, "0123456789abcdef") != COMMIT ||
        hash - real < (ptrdiff_t)strlen(snapshots))
        return false;
    end = hash - strlen(snapshots);
    if (strncmp(end, snapshots, strlen(snapshots)) != 0)
        return false;
    for (from = end; from > real && from[-1] != '/';)
        from--;
    if (strncmp(from, models, strlen(models)) != 0)
        return false;
    from += strlen(models);
    snprintf(id, size, "%.*s", (int)(end - from), from);
    dashes = strstr(id, "--");
    if (dashes != NULL) {
        *dashes = '/';
        memmove(dashes + 1, dashes + 2, strlen(dashes + 2) + 1);
    }
    return *id != '\0';
}
