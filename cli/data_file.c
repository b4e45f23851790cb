#include "cli/cli.h"
#include "formats/base/file_in.h"
#include "formats/base/system.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

const char *
cli_data_file(const char *name)
{
    static char path[PATH_MAX + 64];
    static const char *const beside[] = { "../data", "../share/nibble", "data" }; /* a build, an installation */
    char program[PATH_MAX];
    char *slash;

    snprintf(path, sizeof path, "data/%s", name);
    if (nb_is_file(path))
        return path;
    slash = nb_system_program(program, sizeof program) ? strrchr(program, '/') : NULL;
    for (size_t i = 0; slash != NULL && i < sizeof beside / sizeof beside[0]; i++) {
        if (snprintf(path, sizeof path, "%.*s/%s/%s", (int)(slash - program), program, beside[i], name) <
                (int)sizeof path &&
            nb_is_file(path))
            return path;
    }
    snprintf(path, sizeof path, "%s/%s", NB_DATA_DIR, name);
    return nb_is_file(path) ? path : NULL;
}
