// types: every type that can be written and every recipe, from C++.
#include <nibble.h>

#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace
{
void
check(nibble_code code, const nibble_error &error)
{
    if (code != NIBBLE_OK)
        throw std::runtime_error(std::string(nibble_code_name(code)) + ": " + error.message);
}

std::vector<std::string>
writable_types()
{
    std::vector<std::string> names;
    nibble_error error;
    nibble_type type;

    NIBBLE_INIT(error);
    NIBBLE_INIT(type);
    for (std::size_t i = 0; i < nibble_type_count(); i++) {
        check(nibble_type_at(i, &type, &error), error);
        if (type.writable)
            names.push_back(type.name);
    }
    return names;
}
} // namespace

int
main()
{
    nibble_error error;
    nibble_metadata *raw = nullptr;

    NIBBLE_INIT(error);
    try {
        for (const std::string &name : writable_types())
            std::printf("%s ", name.c_str());
        std::printf("and %u recipes, nibble %s\n", static_cast<unsigned>(nibble_recipe_count()), nibble_version());
        check(nibble_metadata_new(&raw, &error), error);
        std::unique_ptr<nibble_metadata, void (*)(nibble_metadata *)> metadata(raw, nibble_metadata_free);
        check(nibble_metadata_set_integer(metadata.get(), "toy.block_count", NIBBLE_U32, -1, &error), error);
    } catch (const std::runtime_error &e) { // -1 is no u32
        std::printf("%s\n", e.what());
        return 0;
    }
    return 1;
}
