#include "table.h"

#include "coppice/base/text.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace coppice::cli {

Result<Table::Form> Table::parse_form(std::string_view word)
{
    if (word == "table") return Form::Text;
    if (word == "json") return Form::Json;
    if (word == "csv") return Form::Csv;
    return fail(ErrorKind::Invalid, cat("--format ", word, ": use table, json or csv"));
}

std::string Table::print(Form form) const
{
    switch (form) {
    case Form::Json: return print_json();
    case Form::Csv: return print_csv();
    case Form::Text: break;
    }
    return print_text();
}

std::string Table::print_text() const
{
    auto rows = rows_;
    for (auto& row : rows)
        std::transform(row.begin(), row.end(), row.begin(), [](const std::string& cell) { return printable(cell); });
    rows.insert(rows.begin(), keys_);
    for (std::string& heading : rows.front())
        std::transform(heading.begin(), heading.end(), heading.begin(),
                       [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; });
    std::vector<std::size_t> widths(keys_.size(), 0);
    for (const auto& row : rows)
        for (std::size_t i = 0; i < row.size(); ++i)
            widths[i] = std::max(widths[i], row[i].size());
    std::string text;
    for (const auto& row : rows) {
        std::string line;
        for (std::size_t i = 0; i < row.size(); ++i)
            line += cat(row[i], i + 1 < row.size() ? std::string(widths[i] - row[i].size() + 2, ' ') : "");
        text += cat(line, '\n');
    }
    return text;
}

std::string Table::print_csv() const
{
    std::string text;
    const auto add_row = [&text](const std::vector<std::string>& row) {
        for (std::size_t i = 0; i < row.size(); ++i) {
            std::string cell = row[i];
            if (cell.find_first_of(",\"\r\n") != std::string::npos) {
                for (auto quote = cell.find('"'); quote != std::string::npos; quote = cell.find('"', quote + 2))
                    cell.insert(quote, 1, '"');
                cell = cat('"', cell, '"');
            }
            text += cat(i > 0 ? "," : "", cell);
        }
        text += "\r\n";
    };
    add_row(keys_);
    for (const auto& row : rows_)
        add_row(row);
    return text;
}

std::string Table::print_json() const
{
    auto document = nlohmann::ordered_json::array();
    for (const auto& row : rows_) {
        nlohmann::ordered_json object;
        for (std::size_t i = 0; i < row.size(); ++i)
            object[keys_[i]] = row[i];
        document.push_back(std::move(object));
    }
    return document.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + '\n';
}

} // namespace coppice::cli
