#pragma once

#include "coppice/base/result.h"

#include <string>
#include <string_view>
#include <vector>

namespace coppice::cli {

/// Rows of text under headings, printable in the forms that every list command offers.
class Table {
public:
    enum class Form : unsigned char { Text, Json, Csv };
    static Result<Form> parse_form(std::string_view word);

    /// @param keys names of the columns: headings in upper case, keys in JSON
    explicit Table(std::vector<std::string> keys) : keys_{std::move(keys)} {}
    void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
    /// Text in columns two spaces apart; an array of objects; RFC 4180.
    [[nodiscard]] std::string print(Form form) const;

private:
    [[nodiscard]] std::string print_text() const;
    [[nodiscard]] std::string print_csv() const;
    [[nodiscard]] std::string print_json() const;
    std::vector<std::string> keys_;
    std::vector<std::vector<std::string>> rows_;
};

} // namespace coppice::cli
