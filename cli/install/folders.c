/*
 * LM Studio's folder of models, and the cache of Hugging Face's hub, which huggingface_hub and llama.cpp's -hf read:
 * models--ORG--NAME with blobs by their SHA-256, snapshots of links to them, and refs/main, which names a snapshot.
 */
#include "cli/install/install.h"

#include "formats/base/file_in.h"
#include "formats/base/hub.h"
#include "formats/base/text.h"
#include "verify/check/hash.h"

#include <stdlib.h>
#include <string.h>

/* The name, "publisher/model", in its two parts; made up of the file's if there is none. */
static enum nb_status
two_parts(struct install *in, const char **publisher, const char **model)
{
    const char *slash;

    if (in->name == NULL) {
        const char *base = install_base_name(in);

        in->name = base == NULL ? NULL : install_text(in, "local/%s", base);
    }
    if (in->name == NULL)
        return nb_fail_memory(in->err);
    if (!nb_is_hub_name(in->name))
        return nb_fail(in->err, NB_USAGE, "--name: '%s' is not PUBLISHER/MODEL, of letters, digits, '_', '-' and '.'",
                       in->name);
    slash = strchr(in->name, '/');
    *publisher = install_text(in, "%.*s", (int)(slash - in->name), in->name);
    *model = slash + 1;
    return *publisher == NULL ? nb_fail_memory(in->err) : NB_OK;
}

/* --- LM Studio --------------------------------------------------------------------------------------------------- */

/* Its home, which a file in the user's may name. */
static enum nb_status
lmstudio_home(struct install *in, const char **home)
{
    const char *pointer;
    char *text;
    size_t length;
    bool there = false;
    enum nb_status status = install_root(in, "", ".lmstudio-home-pointer", &pointer);

    if (status == NB_OK)
        status = install_look(in, pointer, &there);
    if (status != NB_OK || !there)
        return status != NB_OK ? status : install_root(in, "", ".lmstudio", home);
    status = nb_file_load(pointer, 4096, &text, &length, in->err);
    if (status != NB_OK)
        return status;
    text[strcspn(text, "\r\n")] = '\0';
    *home = install_text(in, "%s", text);
    free(text);
    return *home == NULL ? nb_fail_memory(in->err) : NB_OK;
}

enum nb_status
install_lmstudio(struct install *in)
{
    const char *home, *publisher, *model;
    enum nb_status status = two_parts(in, &publisher, &model);

    if (status == NB_OK)
        status = lmstudio_home(in, &home);
    for (uint32_t i = 0; i < in->source->store.n_files && status == NB_OK; i++) {
        const char *from = in->source->store.files[i].name;
        const char *to = install_text(in, "%s/models/%s/%s/%s", home, publisher, model, nb_base_name(from));

        status = to == NULL ? nb_fail_memory(in->err) : install_file(in, from, to, false);
    }
    if (status == NB_OK)
        in->run = install_text(in, "lms load %s/%s", publisher, model);
    return status;
}

/* --- Hugging Face ------------------------------------------------------------------------------------------------ */

static enum nb_status
hub_root(struct install *in, const char **root)
{
    char *cache;
    enum nb_status status = nb_hub_cache(&cache, in->err);

    if (status != NB_OK)
        return status;
    *root = install_text(in, "%s", cache);
    free(cache);
    return *root == NULL ? nb_fail_memory(in->err) : NB_OK;
}

/* The name of the snapshot, 40 hexadecimal digits as those of a commit: what it holds decides it. */
static enum nb_status
snapshot_of(struct install *in, char commit[2 * NB_HASH_MAX + 1])
{
    unsigned char digest[NB_HASH_MAX];
    char *list = install_text(in, "%s", "");

    for (uint32_t i = 0; i < in->source->store.n_files && list != NULL; i++)
        list = install_text(in, "%s%s %s\n", list, in->digests[i], nb_base_name(in->source->store.files[i].name));
    if (list == NULL || !nb_hash_bytes(NB_HASH_SHA1, list, strlen(list), digest))
        return nb_fail_memory(in->err);
    nb_hash_text(NB_HASH_SHA1, digest, commit);
    return NB_OK;
}

static enum nb_status
add_to_snapshot(struct install *in, const char *folder, const char *commit, uint32_t number)
{
    const char *from = in->source->store.files[number].name, *digest = in->digests[number];
    const char *blob = install_text(in, "%s/blobs/%s", folder, digest);
    const char *to = install_text(in, "%s/snapshots/%s/%s", folder, commit, nb_base_name(from));
    const char *target = install_text(in, "../../blobs/%s", digest);
    enum nb_status status;

    if (blob == NULL || to == NULL || target == NULL)
        return nb_fail_memory(in->err);
    status = install_file(in, from, blob, true);
    return status == NB_OK ? install_link(in, target, to) : status;
}

/* The name of the snapshot comes last: before, nobody sees any of it. */
enum nb_status
install_huggingface(struct install *in)
{
    const char *root, *org, *model, *folder = NULL, *ref = NULL;
    char commit[2 * NB_HASH_MAX + 1];
    enum nb_status status = two_parts(in, &org, &model);

    if (status == NB_OK)
        status = hub_root(in, &root);
    if (status == NB_OK)
        status = snapshot_of(in, commit);
    if (status != NB_OK)
        return status;
    folder = install_text(in, "%s/models--%s--%s", root, org, model);
    ref = folder == NULL ? NULL : install_text(in, "%s/refs/main", folder);
    if (ref == NULL)
        return nb_fail_memory(in->err);
    status = install_check(in, ref, "the cache has a model of this name already (--force puts this one first)");
    for (uint32_t i = 0; i < in->source->store.n_files && status == NB_OK; i++)
        status = add_to_snapshot(in, folder, commit, i);
    if (status == NB_OK)
        status = install_bytes(in, ref, commit, strlen(commit), in->force);
    if (status == NB_OK)
        in->run = install_text(in, "llama-cli -hf %s --offline", in->name);
    return status;
}
