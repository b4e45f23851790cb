#include "formats/models/multimodal.h"

#include <stddef.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

const char *
nb_text_name(struct nb_arena *arena, const char *name)
{
    static const char wrapper[] = "language_model.", ernie[] = "ernie."; /* ERNIE's own name for "model." */
    char *copy, *at;

    if (strncmp(name, ernie, strlen(ernie)) == 0) {
        copy = nb_arena_calloc(arena, 1, strlen(name) + 1);
        return copy == NULL ? NULL : strcat(strcpy(copy, "model."), name + strlen(ernie));
    }
    if (strstr(name, wrapper) == NULL)
        return name;
    copy = nb_arena_strdup(arena, name);
    while (copy != NULL && (at = strstr(copy, wrapper)) != NULL)
        memmove(at, at + strlen(wrapper), strlen(at + strlen(wrapper)) + 1);
    return copy;
}

/* The names are those that llama.cpp's converter leaves out (conversion/base.py, TextModel.filter_tensors). */
bool
nb_is_beyond_text(const char *name)
{
    static const char *const beginnings[] = {
        "mlp",     "vit.",       "vpm.",           "siglip2.",          "conformer.",
        "merger.", "resampler.", "sound_encoder.", "sound_projection.", "speech_embeddings.",
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
