#include "update_flags.h"

#include "coppice/base/text.h"
#include "coppice/base/units.h"

#include <nlohmann/json.hpp>

namespace coppice::runtime_program {

namespace {

Result<std::int64_t> bytes_or_none(const std::string& text)
{
    if (text == "-1") return -1;
    return static_cast<std::int64_t>(TRY(parse_bytes(text)));
}

} // namespace

Result<std::string> to_resources(const UpdateValues& values)
{
    auto resources = nlohmann::json::object();
    for (const auto& [index, value] : values) {
        const UpdateFlag& flag = kUpdateFlags.at(index);
        if (flag.kind == UpdateFlag::Kind::Ignored) continue; // the command has said so
        auto& member = resources[flag.part][flag.member];
        const std::string option = cat("--", flag.name);
        switch (flag.kind) {
        case UpdateFlag::Kind::Number: member = TRY_DOING(option, parse_integer(value, -1, INT64_MAX)); break;
        case UpdateFlag::Kind::Bytes: member = TRY_DOING(option, bytes_or_none(value)); break;
        case UpdateFlag::Kind::List: member = value; break;
        case UpdateFlag::Kind::Ignored: break;
        }
    }
    return resources.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

} // namespace coppice::runtime_program
