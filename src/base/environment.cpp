#include "coppice/base/environment.h"

namespace coppice {

void set_variable(std::vector<std::string>& environment, const std::string& entry)
{
    const std::string name_and_equals = entry.substr(0, entry.find('=') + 1);
    std::erase_if(environment, [&](const std::string& other) { return other.starts_with(name_and_equals); });
    environment.push_back(entry);
}

std::optional<std::string_view> find_variable(const std::vector<std::string>& environment, std::string_view name)
{
    for (const std::string& entry : environment)
        if (entry.starts_with(name) && entry.size() > name.size() && entry[name.size()] == '=')
            return std::string_view{entry}.substr(name.size() + 1);
    return std::nullopt;
}

} // namespace coppice
