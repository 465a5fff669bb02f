#pragma once

#include "coppice/base/text.h"

#include <cstdlib>
#include <string>
#include <string_view>
#include <unistd.h>

namespace coppice::cli {

/// Colours, on a terminal alone and not where NO_COLOR is set. Source: https://no-color.org
class Paint {
public:
    enum class Colour : unsigned char { Red = 31, Green = 32, Yellow = 33, Cyan = 36, Bold = 1 };
    explicit Paint(bool on) : on_{on} {}
    static Paint for_output()
    {
        const char* const refused = ::getenv("NO_COLOR");
        return Paint{::isatty(STDOUT_FILENO) == 1 && (refused == nullptr || *refused == '\0')};
    }
    [[nodiscard]] bool is_on() const { return on_; }
    [[nodiscard]] std::string operator()(Colour colour, std::string_view text) const
    {
        if (!on_ || text.empty()) return std::string{text};
        return cat("\033[", static_cast<int>(colour), 'm', text, "\033[m");
    }

private:
    bool on_;
};

} // namespace coppice::cli
