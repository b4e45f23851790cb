/* check FILE: what is wrong with it; exit code 1 if anything is. */
#include <nibble.h>

#include <stdio.h>

static int
fail(const struct nibble_error *error)
{
    fprintf(stderr, "%s: %s\n", nibble_code_name(error->code), error->message);
    return 2;
}

static int
check(const char *path)
{
    struct nibble_findings *findings;
    struct nibble_check_info info;
    struct nibble_finding finding;
    struct nibble_error error;

    NIBBLE_INIT(info);
    NIBBLE_INIT(finding);
    NIBBLE_INIT(error);
    if (nibble_check(path, NULL, NULL, &findings, &error) != NIBBLE_OK)
        return fail(&error);
    nibble_findings_get_info(findings, &info);
    for (size_t i = 0; i < info.findings; i++) {
        nibble_findings_at(findings, i, &finding, &error);
        printf("%s: %s [%s]\n", finding.file, finding.sentence, finding.code);
    }
    printf("%s, %llu errors\n", info.format, (unsigned long long)info.errors);
    nibble_findings_free(findings);
    return info.errors > 0;
}

int
main(int argc, char **argv)
{
    return argc == 2 ? check(argv[1]) : 2;
}
