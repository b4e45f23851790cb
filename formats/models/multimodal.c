#include "formats/models/multimodal.h"

#include <stddef.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* Names that wrappers put before those of their text model: at the beginning, and anywhere. */
static const char *const outer[] = { "thinker.", "llm." };
static const char *const inner[] = { "language_model.", "text_model." };

static bool
is_wrapped(const char *name)
{
    for (size_t i = 0; i < COUNT(outer); i++)
        if (strncmp(name, outer[i], strlen(outer[i])) == 0)
            return true;
    for (size_t i = 0; i < COUNT(inner); i++)
        if (strstr(name, inner[i]) != NULL)
            return true;
    return false;
}

/* Takes PART, which begins at AT, out of the text around it. */
static void
cut(char *at, const char *part)
{
    memmove(at, at + strlen(part), strlen(at + strlen(part)) + 1);
}

const char *
nb_text_name(struct nb_arena *arena, const char *name)
{
    static const char ernie[] = "ernie."; /* ERNIE's own name for "model." */
    char *copy, *at;

    if (strncmp(name, ernie, strlen(ernie)) == 0) {
        copy = nb_arena_calloc(arena, 1, strlen(name) + 1);
        return copy == NULL ? NULL : strcat(strcpy(copy, "model."), name + strlen(ernie));
    }
    if (!is_wrapped(name))
        return name;
    copy = nb_arena_strdup(arena, name);
    for (size_t i = 0; i < COUNT(outer) && copy != NULL; i++)
        if (strncmp(copy, outer[i], strlen(outer[i])) == 0)
            cut(copy, outer[i]);
    for (size_t i = 0; i < COUNT(inner) && copy != NULL; i++)
        while ((at = strstr(copy, inner[i])) != NULL)
            cut(at, inner[i]);
    return copy;
}

/* The names are those that llama.cpp's converter leaves out (conversion/base.py, TextModel.filter_tensors). */
bool
nb_is_beyond_text(const char *name)
{
    static const char *const beginnings[] = {
        "mlp",
        "vit.",
        "vpm.",
        "siglip2.",
        "conformer.",
        "merger.",
        "resampler.",
        "sound_encoder.",
        "sound_projection.",
        "speech_embeddings.",
        "model.aligner.",
        "model.vqmodel.",
        "model.generation_", /* Janus */
    };
    static const char *const parts[] = {
        "visual.",          "vision.",        "audio.",      "talker.",       "vision_",
        "audio_",           "token2wav.",     "code2wav.",   "projector.",    "pre_mm_projector_norm",
        "image_newline",    "view_seperator", "patch_embed", "patch_merger.", "patch_merge_mlp.",
        "model.connector.",
    };

    for (size_t i = 0; i < COUNT(beginnings); i++)
        if (strncmp(name, beginnings[i], strlen(beginnings[i])) == 0)
            return true;
    for (size_t i = 0; i < COUNT(parts); i++)
        if (strstr(name, parts[i]) != NULL)
            return true;
    return false;
}
